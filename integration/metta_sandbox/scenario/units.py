"""Durations, sizes and amounts as people write them, and the field types built on them."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer

_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[dhms])")
_SHAPE = re.compile(
    r"(?:\d+(?:\.\d+)?d)?(?:\d+(?:\.\d+)?h)?(?:\d+(?:\.\d+)?m)?(?:\d+(?:\.\d+)?s)?(?:\d+(?:\.\d+)?ms)?"
)
_LONGEST_NUMBER = 300
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


def parse_shift(value: object) -> float:
    """Read a duration in seconds that may be negative: ``1h``, ``-90s``, ``-0.5``.

    Raises:
        ValueError: It is none.

    """
    text = str(value).strip() if isinstance(value, (str, float, int)) else ""
    try:
        return -parse_duration(text[1:]) if text.startswith("-") else parse_duration(value)
    except ValueError:
        raise ValueError("expected a duration, also with a minus, such as 1h or -90s") from None


def format_shift(seconds: float) -> str:
    """Write one so that ``parse_shift`` reads the same float back."""
    return f"{'-' if seconds < 0 else ''}{format_duration(abs(seconds))}"


#: A time in seconds, forth or, with a minus, back; written with or without a unit.
Shift = Annotated[
    float,
    BeforeValidator(parse_shift, json_schema_input_type=float | str),
    Field(ge=-365 * 86400.0, le=365 * 86400.0),
    PlainSerializer(format_shift, return_type=str),
]


_BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BYTES |= {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?", re.IGNORECASE)


def parse_size(value: object) -> int:
    """Read a number of bytes: ``4096``, ``64MB``, ``2GiB``, ``1.5g``.

    ``k``, ``m``, ``g`` and ``t`` are powers of 1000, with an ``i`` of 1024.

    Raises:
        ValueError: It is none of these, or no whole number of bytes.

    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or len(match[1]) > _LONGEST_NUMBER:
        raise ValueError("expected a size such as 512MB or 2GiB")
    return round(Decimal(match[1]) * _BYTES[(match[2] or "").lower()])


def format_size(size: int) -> str:
    """Write a size so that ``parse_size`` reads the same number back."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        share, rest = divmod(size, _BYTES[unit[:2].lower()])
        if share and not rest:
            return f"{share}{unit}"
    return str(size)


#: A number of bytes, written with or without a unit.
Size = Annotated[
    int,
    BeforeValidator(parse_size, json_schema_input_type=int | str),
    Field(ge=1, le=2**50),
    PlainSerializer(format_size, return_type=str),
]

_THOUSANDS = {"k": 10**3, "M": 10**6, "G": 10**9}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([kMG])")


def parse_amount(value: object) -> object:
    """Read a number that may have a unit: ``500k``, ``1.5M``; leave anything else as it is.

    Raises:
        ValueError: It is another text.

    """
    if not isinstance(value, str):
        return value
    match = _AMOUNT.fullmatch(value.strip())
    if match is None or len(match[1]) > _LONGEST_NUMBER:
        raise ValueError("expected a number such as 20000, 500k or 1.5M")
    return float(Decimal(match[1]) * _THOUSANDS[match[2]])


#: A number that may be written with a unit.
Amount = Annotated[float, BeforeValidator(parse_amount, json_schema_input_type=float | str)]


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
