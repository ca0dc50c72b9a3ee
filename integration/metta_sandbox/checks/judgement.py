"""What a check says, and the small things that checks share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metta_sandbox.verdict import Verdict

_MOST_SHOWN = 10
_MISSING = "nothing"


@dataclass(frozen=True)
class Judgement:
    """A verdict, and in words what was expected, what was seen, and where."""

    verdict: Verdict
    detail: str


def judge(problems: Sequence[str], otherwise: str) -> Judgement:
    """Fail for any problem, and pass with what was seen otherwise."""
    if not problems:
        return Judgement(Verdict.PASSED, otherwise)
    shown = list(problems[:_MOST_SHOWN])
    if len(problems) > _MOST_SHOWN:
        shown.append(f"and {len(problems) - _MOST_SHOWN} more")
    return Judgement(Verdict.FAILED, "\n".join(shown))


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Write nested mappings as one by dotted keys."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping) and value:
            found.update(flat(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = value
    return found


def differences(expected: Mapping[str, Any], seen: Mapping[str, Any]) -> Iterator[str]:
    """Tell in words where two mappings, nested or dotted, differ."""
    expected, seen = flat(expected), flat(seen)
    for key in sorted(expected.keys() | seen.keys()):
        if key not in expected or key not in seen or not same(expected[key], seen[key]):
            want, got = _shown(expected, key), _shown(seen, key)
            yield f"{key}: expected {want}, saw {got}"


def same(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are equal; 1 is 1.0 but not true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


def _shown(values: Mapping[str, Any], key: str) -> str:
    return repr(values[key]) if key in values else _MISSING


def many(count: int, noun: str) -> str:
    """Write a count with its noun."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
