"""What came of a contest: values, medians, ratios, goals. Pure, and kept as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

#: In place of a contestant's name: whoever of the peers has the lowest median.
FASTEST_PEER = "the fastest peer"


@dataclass(frozen=True)
class Entry:
    """One contestant's measurements.

    Args:
        name: Whose.
        kind: ``ours``, ``peer`` or ``floor``.
        about: What was measured.
        values: One for each round.
        parts: What each value is made of.
        reason: Why it could not do the work, or not in every round; mostly empty.

    """

    name: str
    kind: str
    about: str
    values: tuple[float, ...] = ()
    parts: tuple[Mapping[str, float], ...] = ()
    reason: str = ""

    @property
    def median(self) -> float | None:
        """The median, of somebody who has done the work in every round."""
        return median(self.values) if self.values and not self.reason else None


@dataclass(frozen=True)
class Goal:
    """What one of ours should reach.

    Args:
        of: Whose median.
        kind: ``at_most`` (in the contest's unit), ``times_faster`` (than ``against``, at least) or
            ``at_most_times`` (of ``against``).
        limit: The number.
        against: Whose median it is compared with.

    """

    of: str
    kind: Literal["at_most", "times_faster", "at_most_times"]
    limit: float
    against: str = ""


@dataclass(frozen=True)
class JudgedGoal:
    """A goal, and whether it was met.

    Args:
        of: Whose goal.
        text: The goal in words.
        figure: What was measured, in words.
        met: Whether it was met; None if it could not be measured.

    """

    of: str
    text: str
    figure: str
    met: bool | None


@dataclass(frozen=True)
class ContestOutcome:
    """All that came of one contest; see ``Contest`` for the fields."""

    key: str
    title: str
    note: str
    unit: str
    entries: tuple[Entry, ...]
    goals: tuple[JudgedGoal, ...]


def fastest_peer(entries: Sequence[Entry]) -> Entry | None:
    """Return the peer with the lowest median."""
    able = [(one.median, one) for one in entries if one.kind == "peer" and one.median is not None]
    return min(able, key=lambda pair: pair[0])[1] if able else None


def ratio(entry: Entry, reference: Entry | None) -> float | None:
    """Divide a median by another one."""
    if reference is None or entry.median is None or not reference.median:
        return None
    return entry.median / reference.median


def judge(goal: Goal, entries: Sequence[Entry]) -> JudgedGoal:
    """Say whether a goal was met.

    Raises:
        LookupError: Nobody has the name that the goal says.

    """
    named = {one.name: one for one in entries}
    entry = named[goal.of]
    if goal.kind == "at_most":
        value = entry.median
        met = None if value is None else value <= goal.limit
        figure = "not measured" if value is None else f"{value:.2f}"
        return JudgedGoal(goal.of, f"at most {goal.limit:g}", figure, met)
    against = fastest_peer(entries) if goal.against == FASTEST_PEER else named[goal.against]
    quotient = ratio(entry, against)
    if goal.kind == "at_most_times":
        text = f"at most {goal.limit:g} times {goal.against}"
        met = None if quotient is None else quotient <= goal.limit
        figure = "not measured" if quotient is None else f"{quotient:.2f} times"
        return JudgedGoal(goal.of, text, figure, met)
    text = f"at least {goal.limit:g} times faster than {goal.against}"
    if not quotient:
        return JudgedGoal(goal.of, text, "not measured", None)
    return JudgedGoal(goal.of, text, f"{1 / quotient:.1f} times", 1 / quotient >= goal.limit)
