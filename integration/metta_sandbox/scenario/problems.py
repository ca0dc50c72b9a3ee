"""Pydantic's errors in the words, and at the places, of a scenario file's author."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from metta_sandbox.errors import Problem
from metta_sandbox.scenario.overrides import did_you_mean
from metta_sandbox.scenario.tree import Document

Location: TypeAlias = tuple[str | int, ...]

#: Characters of an offending text that are repeated in a message.
_WIDEST = 60

_EXPECTED = {
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "string_type": "expected text",
    "bool_type": "expected true or false",
    "tuple_type": "expected a list",
    "list_type": "expected a list",
    "dict_type": "expected a mapping",
    "model_type": "expected a mapping",
    "model_attributes_type": "expected a mapping",
    "greater_than": "expected more than {gt}",
    "greater_than_equal": "expected {ge} or more",
    "less_than": "expected less than {lt}",
    "less_than_equal": "expected {le} or less",
    "string_pattern_mismatch": "expected text that matches {pattern}",
    "string_too_short": "expected some text",
    "string_too_long": "expected at most {max_length} characters",
    "too_short": "expected at least one",
    "missing": "missing",
    "union_tag_not_found": "expected exactly one key",
}


#: Errors of which the offending text says nothing more.
_SAY_ALL = {"missing", "union_tag_not_found", "too_short"}


def describe(
    model: type[BaseModel], errors: Iterable[ErrorDetails], document: Document
) -> Iterator[Problem]:
    """Say of each error where it is and what would be right."""
    listed = list(errors)
    for error in listed:
        if error["type"] == "too_short" and any(_is_inside(each, error) for each in listed):
            continue  # its items were wrong, and none is left of them
        location = _place_of(error, document)
        if error["type"] == "misfit":
            for path, message in error["ctx"]["faults"]:
                inner = (*location, *path)
                yield document.locate(inner, key=True).problem(f"{dotted(inner)}: {message}")
            continue
        unknown = error["type"] in {"extra_forbidden", "union_tag_invalid"}
        if error["type"] == "union_tag_invalid":
            location = (*location, error["ctx"]["tag"])
        place = document.locate(location, key=unknown)
        yield place.problem(f"{dotted(location)}: {_message(model, error)}")


def _is_inside(inner: ErrorDetails, outer: ErrorDetails) -> bool:
    depth = len(outer["loc"])
    return len(inner["loc"]) > depth and inner["loc"][:depth] == outer["loc"]


def _message(model: type[BaseModel], error: ErrorDetails) -> str:
    kind, context = error["type"], error.get("ctx", {})
    found = _quote(error["input"])
    if kind == "extra_forbidden":
        return _unknown(str(error["loc"][-1]), keys_at(model, error["loc"][:-1]))
    if kind == "union_tag_invalid":
        tags = _words(context["expected_tags"])
        return _unknown(context["tag"], [tag.removesuffix(" fault") for tag in tags])
    if kind == "literal_error":
        known = _words(context["expected"])
        meant = did_you_mean(error["input"], known) if isinstance(error["input"], str) else ""
        return f"expected {' or '.join(known)}, got {found}{meant}"
    if kind == "value_error":
        text = str(context["error"])
        whole = text.endswith("?") or isinstance(error["input"], (dict, list))
        return text if whole else f"{text}, got {found}"
    expected = _EXPECTED.get(kind)
    text = expected.format(**context) if expected else str(error["msg"])
    return text if kind in _SAY_ALL else f"{text}, got {found}"


def one_of(known: Sequence[str]) -> str:
    """List what would be right."""
    return f"expected one of {', '.join(known)}"


def _unknown(word: str, known: Sequence[str]) -> str:
    return f"unknown key{did_you_mean(word, known, one_of(known))}"


def _words(listed: str) -> list[str]:
    """Read Pydantic's list of allowed words: ``'a', 'b' or 'c'``."""
    return [word.strip().strip("'") for word in listed.replace(" or ", ",").split(",")]


def _quote(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    text = value if isinstance(value, str) else str(value)
    short = text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..."
    # A pattern's backslashes stay as they were written.
    return repr(short).replace("\\\\", "\\") if isinstance(value, str) else short


def dotted(location: Location) -> str:
    """Write what leads to a value as people do: ``workload.mounts[0].source``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".") or "the file"


def _place_of(error: ErrorDetails, document: Document) -> Location:
    """Leave out the parts of an error's location that Pydantic made up, such as union tags."""
    kept: Location = ()
    for part in error["loc"]:
        if document.has((*kept, part)):
            kept = (*kept, part)
    return (*kept, error["loc"][-1]) if error["type"] == "missing" else kept


def keys_at(model: type[BaseModel], location: Location) -> list[str]:
    """List the keys that a mapping at this place of a model may have."""
    models = [model]
    for part in location:
        fields = [inner.model_fields[part] for inner in models if part in inner.model_fields]
        if fields:
            models = [found for field in fields for found in _models_in(field.annotation)]
    return list(dict.fromkeys(key for inner in models for key in inner.model_fields))


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models_in(inner)
