"""The JSON Schema of scenario files, for editors: completion, explanations, faults while typing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import CoreSchema

from metta_sandbox.scenario.faults import FaultItem
from metta_sandbox.scenario.matrix import EXCLUDE, FIXED, MOST_CELLS
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.names import TRAINER_KEYS
from metta_sandbox.scenario.variables import KEYS, NAME

_REFERENCE = {"$ref": "#/$defs/Reference"}
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
#: What a file may say beside a scenario's keys, and what it is for.
FILE_KEYS: Mapping[str, str] = {
    "extends": "Another scenario file, from here, of which this one says only what is different.",
    "variables": "Values by name, which ${name} stands for; `--set name=value` goes over them.",
    "matrix": "Keys with lists of values, which may have dots: each combination becomes a "
    f"scenario of its own, {MOST_CELLS} at most.",
}
#: What a file that extends another may say a part of, and what one of its keys asks for.
_PARTLY_SAID: Mapping[str, Mapping[str, list[str]]] = {
    "Range": {"distribution": ["min", "max"]},
    "ScoreSource": {},
}
_VARIABLE_KEYS = {
    "default": "The value, if neither the command line nor the environment gives one.",
    "env": "The environment's variable that goes over the default.",
    "description": "What it is for.",
    "secret": "Whether its value, from outside the file, is masked wherever anything is written.",
}


class _WithoutTitles(GenerateJsonSchema):
    """Gives fields no title: what Pydantic makes of a key says no more than the key."""

    def field_title_should_be_set(self, _schema: CoreSchema) -> bool:
        return False


def make_schema() -> dict[str, Any]:
    """Make the schema of what a file may say, from the model of what a scenario is."""
    schema = Scenario.model_json_schema(schema_generator=_WithoutTitles)
    parts = schema["$defs"]
    for part in parts.values():
        _allow_references(part)
    _share_keys_of_faults(parts)
    for name, needed in _PARTLY_SAID.items():
        del parts[name]["required"]
        parts[name]["dependentRequired"] = needed
    own = {key: _or_reference(value) for key, value in schema["properties"].items()}
    own["version"] = schema["properties"]["version"]
    parts["Reference"] = {
        "description": "A variable's value.",
        "type": "string",
        "pattern": rf"^\$\{{{NAME.pattern}\}}$",
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Scenario file of metta-sandbox",
        "description": "Who takes part in a distributed sweep, what is swept, and what must hold.",
        "type": "object",
        "properties": {**own, **_file_keys(own)},
        "required": ["name"],
        "anyOf": [{"required": ["version"]}, {"required": ["extends"]}],
        "additionalProperties": False,
        "$defs": parts,
    }


def schema_text() -> str:
    """Write the schema as the file that is shipped with this package."""
    return json.dumps(make_schema(), indent=2, ensure_ascii=False) + "\n"


def _file_keys(own: Mapping[str, Any]) -> dict[str, Any]:
    told = {
        key: {"type": "string", "minLength": 1, "description": text}
        for key, text in _VARIABLE_KEYS.items()
    }
    told["default"] = {"description": _VARIABLE_KEYS["default"]}
    told["secret"] = {"type": "boolean", "description": _VARIABLE_KEYS["secret"]}
    assert tuple(told) == KEYS
    variable = {
        "anyOf": [
            {"type": ["string", "number", "boolean", "null", "array"]},
            {"type": "object", "properties": told, "additionalProperties": False},
        ]
    }
    return {
        "extends": {"type": "string", "minLength": 1, "description": FILE_KEYS["extends"]},
        "variables": {
            "type": "object",
            "description": FILE_KEYS["variables"],
            "propertyNames": {"pattern": f"^{NAME.pattern}$"},
            "additionalProperties": variable,
        },
        "matrix": {
            "type": "object",
            "description": FILE_KEYS["matrix"],
            "minProperties": 1,
            "properties": _axes(own),
            "additionalProperties": {"type": "array", "minItems": 1},
        },
    }


def _axes(own: Mapping[str, Any]) -> dict[str, Any]:
    """List what a matrix often goes over, so that an editor offers it."""
    lists: dict[str, Any] = {
        key: {"type": "array", "minItems": 1, "items": {"$ref": f"#/properties/{key}"}}
        for key in own
        if key not in FIXED
    }
    for key, kind in TRAINER_KEYS.items():
        items = {"anyOf": [{"type": _TYPES[kind]}, _REFERENCE]}
        lists[key] = {"type": "array", "minItems": 1, "items": items}
    lists = {key: {"anyOf": [value, _REFERENCE]} for key, value in lists.items()}
    lists[EXCLUDE] = {
        "type": "array",
        "description": "Combinations that are left out, each by some of the matrix's keys.",
        "items": {"type": "object", "minProperties": 1},
    }
    return lists


def _share_keys_of_faults(parts: dict[str, Any]) -> None:
    """Write the keys that all items of ``faults`` have once, and refer to them from each."""
    items = [parts[name] for name in parts if name.endswith("FaultItem")]
    shared = {key: items[0]["properties"][key] for key in FaultItem.model_fields}
    parts["FaultItem"] = {"type": "object", "properties": shared}
    for item in items:
        for key in shared:
            item["properties"][key] = {"$ref": f"#/$defs/FaultItem/properties/{key}"}


def _allow_references(part: dict[str, Any]) -> None:
    properties = part.get("properties", {})
    for key, value in properties.items():
        properties[key] = _or_reference(value)


def _or_reference(value: dict[str, Any]) -> dict[str, Any]:
    """Let a variable stand for a value, unless any text may be there anyway."""
    if value.get("type") == "string" and not {"enum", "const", "pattern"} & set(value):
        return value
    about: dict[str, Any] = {
        key: value[key] for key in ("title", "description", "default") if key in value
    }
    rest = {key: inner for key, inner in value.items() if key not in about}
    choices = rest["anyOf"] if set(rest) == {"anyOf"} else [rest]
    return {**about, "anyOf": [*choices, _REFERENCE]}
