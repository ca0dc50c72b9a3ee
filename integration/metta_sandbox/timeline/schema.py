"""What a line of ``timeline.jsonl`` may be: ``python -m metta_sandbox.timeline.schema``."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import NoneType
from typing import ClassVar, Union, get_args, get_origin, get_type_hints

from metta_sandbox.node.agent.events import CATALOGUE, KnownEvent, Record

SCHEMA_FILE = Path(__file__).with_name("timeline.schema.json")

Schema = dict[str, object]

#: What fields may be, in JSON's words; and in Python's, as JSON is read.
_TYPES: dict[object, tuple[str, tuple[type, ...]]] = {
    bool: ("boolean", (bool,)),
    float: ("number", (int, float)),
    int: ("integer", (int,)),
    str: ("string", (str,)),
    Mapping: ("object", (dict,)),
    NoneType: ("null", (NoneType,)),
    Sequence: ("array", (list,)),
}
_TEXT: Schema = {"type": "string"}
#: What is no event: the key that says so, and the others.
_OTHERS: dict[str, dict[str, Schema]] = {
    "line": {"node": _TEXT, "source": _TEXT},
    "step": {},
    "fault": {"action": _TEXT, "detail": {"type": "object"}},
}


def misfit(record: Record) -> str:
    """Say why a record can't be what the catalogue has under its name, or nothing."""
    for field, types, required in _shape(record["event"]):
        value = record.get(field)
        if field not in record:
            if required:
                return f"without {field}"
        elif not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            return f"with an impossible {field}"
    return ""


def is_required(known: type[KnownEvent], field: str) -> bool:
    """Tell whether an event has always a field."""
    own = known.__mro__[: known.__mro__.index(KnownEvent)]
    return field in known.fields and not any(field in vars(each) for each in own)


def make_schema() -> Schema:
    """Build the JSON Schema of a line."""
    own = {"description": "An event of a trainer's own.", "required": ["event"]}
    named = {"properties": {"event": {**_TEXT, "not": {"enum": list(CATALOGUE)}}}}
    origin = {field: _schema(hint) for field, hint in _hints(KnownEvent).items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of timeline.jsonl",
        "type": "object",
        "properties": {"received": {"type": "number"}},
        "required": ["received"],
        "anyOf": [
            *map(_event, CATALOGUE.values()),
            {**own, **named},
            *(_other(key, more) for key, more in _OTHERS.items()),
        ],
        "$defs": {"origin": {"properties": origin}},
    }


def schema_text() -> str:
    """Write the schema as the file that is shipped with this package."""
    return json.dumps(make_schema(), indent=2) + "\n"


def _hints(known: type[KnownEvent]) -> dict[str, object]:
    hints = get_type_hints(known).items()
    return {field: hint for field, hint in hints if get_origin(hint) is not ClassVar}


@cache
def _shape(name: str) -> tuple[tuple[str, tuple[type, ...], bool], ...]:
    """Give each field of which something is known, what it may be, and if it is always there."""
    known = CATALOGUE[name]
    return tuple(
        (
            field,
            tuple(one for kind in _kinds(hint) for one in _TYPES[kind][1]),
            is_required(known, field),
        )
        for field, hint in _hints(known).items()
        if hint is not object
    )


def _event(known: type[KnownEvent]) -> Schema:
    hints = _hints(known)
    own = {field: _schema(hints[field]) for field in known.fields}
    return {
        "$ref": "#/$defs/origin",
        "description": known.__doc__,
        "properties": {"event": {"const": known.name}, **own},
        "required": ["event", *(field for field in own if is_required(known, field))],
    }


def _other(key: str, more: Mapping[str, Schema]) -> Schema:
    return {
        "properties": {key: _TEXT, **more, "received": {}},
        "required": [key, *more],
        "additionalProperties": False,
    }


def _schema(hint: object) -> Schema:
    if hint is object:
        return {}
    types = [_TYPES[kind][0] for kind in _kinds(hint)]
    if "number" in types:
        # JSON has no way to write these, so the timeline spells them.
        return {"type": [*types, "string"], "pattern": "^(nan|-?inf)$"}
    return {"type": types if len(types) > 1 else types[0]}


def _kinds(hint: object) -> list[object]:
    parts = get_args(hint) if get_origin(hint) is Union else (hint,)
    return [get_origin(part) or part for part in parts]


if __name__ == "__main__":
    sys.stdout.write(schema_text())
