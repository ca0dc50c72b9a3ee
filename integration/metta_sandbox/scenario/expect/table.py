"""The kinds of checks as the documentation's tables."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator

from pydantic.fields import FieldInfo

from metta_sandbox.scenario.expect.kind import CheckKind
from metta_sandbox.scenario.expect.kinds import CHECKS

#: What the documentation calls types, which stand in the models' code by these names.
_TYPES = {
    "Amount": "number",
    "bool": "`true`, `false`",
    "Count": "count",
    "Duration": "duration",
    "EventName": "event",
    "float": "number",
    "HostName": "host",
    "int": "number",
    "Pattern": "pattern",
    "Route": "method and template",
    "Statuses": "number, list, `nonzero`",
    "str": "text",
    "Tolerance": "share or number",
    "Where": "mapping",
    "Which": "which",
}


def kinds() -> str:
    """Write a row for each kind."""
    rows = (
        f"| `{each.kind.key}` | {each.kind.about} | `{each.kind.example}` |\n" for each in CHECKS
    )
    head = "| kind | what must hold | example |\n| --- | --- | --- |\n"
    return head + "".join(rows)


def keys() -> str:
    """Write a row for each key of each kind."""
    head = "| kind | key | type | default | meaning |\n| --- | --- | --- | --- | --- |\n"
    return head + "".join(row for each in CHECKS for row in _rows(each.kind))


def _rows(kind: type[CheckKind]) -> Iterator[str]:
    first = f" `{kind.key}` "
    for key, field in kind.model_fields.items():
        said = f"{_type(kind, key)}{_range(field)}"
        yield f"|{first or ' '}| `{key}` | {said} |{_default(field)}| {field.description} |\n"
        first = ""


def _default(field: FieldInfo) -> str:
    """Write the value that a key has where it is not said, as a file would."""
    if field.is_required():
        return " required "
    value = field.get_default(call_default_factory=True)
    if value is None:
        return " "
    return f" `{value if isinstance(value, str) else json.dumps(value)}` "


def _range(field: FieldInfo) -> str:
    words = (("from", "ge"), ("to", "le"))
    said = ((word, getattr(each, name, None)) for word, name in words for each in field.metadata)
    return "".join(f" {word} {bound}" for word, bound in said if bound is not None)


def _type(kind: type[CheckKind], key: str) -> str:
    """Say of which type a key's value is, by what its model's code says."""
    own = map(inspect.get_annotations, kind.__mro__)
    said = next(annotations[key] for annotations in own if key in annotations)
    if words := re.findall(r"'(\w+)'", said):
        numbered = ", a number from 1" if "ge=1" in said else ""
        return ", ".join(f"`{word}`" for word in dict.fromkeys(words)) + numbered
    if said.startswith("dict["):
        return "mapping"
    return "list" if "tuple[" in said else _TYPES[said.removesuffix(" | None")]
