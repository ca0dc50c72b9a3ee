"""The filters and orders of ``wandb.Api().runs``, which look like MongoDB's."""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphql import GraphQLError

from metta_sandbox.matching import Matcher, UnmatchedError

#: What runs go by in filters, beside ``config.…`` and ``summary_metrics.…``.
_NAMES = {
    "displayName": "display_name",
    "createdAt": "created_at",
    "heartbeatAt": "heartbeat_at",
    "updatedAt": "updated_at",
    "jobType": "job_type",
    "sweepName": "sweep",
    "summaryMetrics": "summary_metrics",
    "summary": "summary_metrics",
    "user.username": "username",
}
#: Seconds that a pattern gets for a value: it comes from a client, and may never end.
_MATCHER = Matcher(1.0)
_GROUPS: dict[str, Callable[[list[bool]], bool]] = {
    "$and": all,
    "$or": lambda fits: any(fits) or not fits,
    "$nor": lambda fits: not any(fits),
}


def read_filters(text: str | None) -> dict[str, Any]:
    """Read filters from JSON.

    Raises:
        GraphQLError: They are none.

    """
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise GraphQLError(f"filters are no JSON: {error}") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise GraphQLError("filters: expected an object")
    return found


def matches(document: Mapping[str, Any], filters: Mapping[str, Any]) -> bool:
    """Tell whether a document fits filters.

    Raises:
        GraphQLError: There is no such operator.

    """
    return all(_fits(document, key, wanted) for key, wanted in filters.items())


def _fits(document: Mapping[str, Any], key: str, wanted: Any) -> bool:
    if key in _GROUPS:
        return _GROUPS[key]([matches(document, each) for each in wanted])
    if key == "$not":
        return not matches(document, wanted)
    if key.startswith("$"):
        raise GraphQLError(f"filters: the stand-in does not have {key}")
    value = value_at(document, key)
    if isinstance(wanted, dict) and any(name.startswith("$") for name in wanted):
        return all(_compare(value, name, operand) for name, operand in wanted.items())
    return _equal(value, wanted)


def _compare(value: Any, name: str, operand: Any) -> bool:
    if name not in _OPERATORS:
        raise GraphQLError(f"filters: the stand-in does not have {name}")
    try:
        return bool(_OPERATORS[name](value, operand))
    except TypeError:  # values of different kinds have no order
        return False


def _equal(value: Any, wanted: Any) -> bool:
    """Compare as MongoDB does: a list also equals each of its elements."""
    return bool(value == wanted) or (isinstance(value, list) and wanted in value)


def _found(pattern: str, value: Any) -> bool:
    try:
        re.compile(pattern)
        return any(True for _ in _MATCHER.matches([pattern], [str(value)], most=1))
    except (re.error, RecursionError, OverflowError, UnmatchedError) as error:
        raise GraphQLError(f"filters: {pattern!r}: {error}") from None


def value_at(document: Mapping[str, Any], key: str) -> Any:
    """Find a value by a dotted name; a configured one with or without ``.value`` behind it."""
    name, _, rest = key.partition(".")
    if key in _NAMES or not rest:
        return document.get(_NAMES.get(key, key))
    section = document.get(_NAMES.get(name, name))
    if name == "tags" and isinstance(section, list):
        return rest in section
    if name == "config":
        # A value that is itself named `value` is asked for as `config.value.value`.
        rest = rest.removesuffix(".value") or rest
    return _dig(section, rest)


def _dig(section: Any, key: str) -> Any:
    """Find a value by a name that may itself have dots in it."""
    if not isinstance(section, dict):
        return None
    if key in section:
        return section[key]
    name, _, rest = key.partition(".")
    return _dig(section.get(name), rest) if rest else None


def ordered(documents: Sequence[Mapping[str, Any]], order: str | None) -> list[Mapping[str, Any]]:
    """Sort documents as ``+created_at`` or ``-summary_metrics.loss`` says; those without it last.

    Several orders are separated by commas; the first counts most.
    """
    found = list(documents)
    for part in reversed([each for each in (order or "").split(",") if each.strip()]):
        name = part.strip()
        down = name.startswith("-")
        key = name.lstrip("+-")
        known = [each for each in found if value_at(each, key) is not None]
        rest = [each for each in found if value_at(each, key) is None]
        known.sort(key=lambda each: _sortable(value_at(each, key)), reverse=down)
        found = known + rest
    return found


def _sortable(value: Any) -> tuple[int, float, str]:
    """Make values of different kinds comparable: numbers come before texts."""
    if isinstance(value, (int, float)):
        return (0, 0.0, "") if math.isnan(value) else (1, float(value), "")
    return (2, 0.0, value if isinstance(value, str) else json.dumps(value, default=str))


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
    "$eq": _equal,
    "$ne": lambda value, operand: not _equal(value, operand),
    "$in": lambda value, operand: any(_equal(value, each) for each in operand),
    "$nin": lambda value, operand: not any(_equal(value, each) for each in operand),
    "$exists": lambda value, operand: (value is not None) == bool(operand),
    "$regex": lambda value, operand: value is not None and _found(str(operand), value),
    "$not": lambda value, operand: not _fits({"value": value}, "value", operand),
}
