"""What a check says, and the small things that checks share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from metta_sandbox.verdict import Verdict

_MOST_SHOWN = 10
_MISSING = "nothing"


class EvidenceError(Exception):
    """An artifact is missing or broken, so that nothing can be judged by it.

    Args:
        where: The artifact, and the line if one is to blame.
        message: What is wrong with it.

    """

    def __init__(self, where: str, message: str) -> None:
        super().__init__(f"{where}: {message}")
        self.where = where


@dataclass(frozen=True)
class Finding:
    """Something that a check expected otherwise.

    Attributes:
        text: What was expected and what was seen.
        where: The place in the artifacts that shows it, ``file`` or ``file:line``; or empty.
        seen: What was seen alone; the text, if it is not told apart.

    """

    text: str
    where: str = ""
    seen: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.text}" if self.where else self.text


def unlike(about: str, expected: str, seen: str, where: str = "") -> Finding:
    """Make the finding that something is other than expected."""
    return Finding(f"{about}: expected {expected}, saw {seen}", where, f"{about}: {seen}")


@dataclass(frozen=True)
class Judgement:
    """A verdict, and in words what was expected, what was seen, and where.

    Attributes:
        verdict: How it came out.
        detail: All that is worth telling, for reading.
        seen: What was seen alone; empty if it is the detail.
        where: The places in the artifacts that show it.
        doubt: What is worth a look although it holds; or empty.

    """

    verdict: Verdict
    detail: str
    seen: str = ""
    where: tuple[str, ...] = ()
    doubt: str = ""

    def warning(self, doubt: str) -> Judgement:
        """Give the same with a word of warning."""
        return replace(self, doubt=doubt)


def judge(
    problems: Sequence[Finding | str], otherwise: str, where: Iterable[str] = ()
) -> Judgement:
    """Fail for any problem; otherwise pass with what was seen, and where."""
    if not problems:
        return Judgement(Verdict.PASSED, otherwise, where=_few(where))
    found = [each if isinstance(each, Finding) else Finding(each) for each in problems]
    told = [str(each) for each in found[:_MOST_SHOWN]]
    seen = [each.seen or each.text for each in found[:_MOST_SHOWN]]
    if len(found) > _MOST_SHOWN:
        more = f"and {len(found) - _MOST_SHOWN} more"
        told.append(more)
        seen.append(more)
    places = _few(each.where for each in found)
    return Judgement(Verdict.FAILED, "\n".join(told), "\n".join(seen), places)


def unclear(reason: str, where: str = "") -> Judgement:
    """Say that nothing can be told, and why: never a pass."""
    return Judgement(Verdict.INCONCLUSIVE, reason, where=_few([where]))


def _few(places: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(place for place in places if place))[:_MOST_SHOWN]


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
