"""Counts, sizes, times and texts as people read them."""

from __future__ import annotations

_UNITS = ("B", "kB", "MB", "GB", "TB")
_THOUSAND = 1000


def many(count: int, noun: str) -> str:
    """Write a count with its noun, thousands apart."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def size(number: int) -> str:
    """Write a number of bytes in the largest unit, of 1000 of the next, that it fills."""
    amount, unit = float(number), 0
    while amount >= _THOUSAND and unit < len(_UNITS) - 1:
        amount, unit = amount / _THOUSAND, unit + 1
    return f"{amount:.4g} {_UNITS[unit]}"


def time(seconds: float) -> str:
    """Write a length of time in seconds, or in milliseconds if it is below one."""
    return f"{seconds:g} s" if seconds >= 1 else f"{round(seconds * _THOUSAND, 3):g} ms"


def one_line(text: str) -> str:
    """Write a text of several lines in one: names of files and functions may have some, too."""
    return " / ".join(line.strip() for line in text.splitlines() if line.strip())


def ended(status: int) -> str:
    """Say how a process ended by its status, which is negative for a signal."""
    return f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
