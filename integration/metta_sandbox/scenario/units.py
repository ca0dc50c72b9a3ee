"""Durations as people write them, and the field types built on them."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer

_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[dhms])")
_SHAPE = re.compile(
    r"(?:\d+(?:\.\d+)?d)?(?:\d+(?:\.\d+)?h)?(?:\d+(?:\.\d+)?m)?(?:\d+(?:\.\d+)?s)?(?:\d+(?:\.\d+)?ms)?"
)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def parse_duration(value: object) -> float:
    """Read a duration in seconds: ``90``, ``90s``, ``10m``, ``1h30m``, ``500ms``, ``2d``.

    Raises:
        ValueError: It is none of these, negative, or not finite.

    """
    seconds = math.nan
    if isinstance(value, str):
        text = value.strip()
        if _NUMBER.fullmatch(text):
            seconds = float(text)
        elif text and _SHAPE.fullmatch(text):
            seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            seconds = float(value)
        except OverflowError:
            seconds = math.inf
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError("expected a duration such as 90s, 10m, 1h30m or 500ms")
    return seconds


def format_duration(seconds: float) -> str:
    """Write a duration so that ``parse_duration`` reads the same float back."""
    whole = int(seconds)
    if whole == seconds and whole < 2**53:
        hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
        parts = [(hours, "h"), (minutes, "m"), (rest, "s")]
        return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"
    return f"{seconds:f}s" if float(f"{seconds:f}") == seconds else f"{seconds:.1074f}".rstrip("0")


#: A length of time in seconds, longer than none; written with or without a unit.
Duration = Annotated[
    float,
    BeforeValidator(parse_duration, json_schema_input_type=float | str),
    Field(gt=0, le=30 * 86400.0),
    PlainSerializer(format_duration, return_type=str),
]


def _compiles(value: Any) -> Any:
    if isinstance(value, str):
        try:
            re.compile(value)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"expected a regular expression of Python's re ({error})") from error
    return value


#: A regular expression of Python's ``re``, kept as its text.
Pattern = Annotated[
    str, BeforeValidator(_compiles, json_schema_input_type=str), Field(min_length=1)
]
