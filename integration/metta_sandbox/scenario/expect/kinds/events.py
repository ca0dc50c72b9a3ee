"""Events that happen, never happen, or happen in an order and within a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import Self

from metta_sandbox.scenario.base import Misfit, NamedHosts
from metta_sandbox.scenario.expect.bounds import Count
from metta_sandbox.scenario.expect.judgement import Finding, Judgement, flat, judge, same, unclear
from metta_sandbox.scenario.expect.kind import CheckKind, CheckPair
from metta_sandbox.scenario.expect.records import (
    EVENTS,
    WHERE,
    EventName,
    EventPattern,
    Where,
    conditions,
    moment,
)
from metta_sandbox.scenario.overrides import did_you_mean
from metta_sandbox.scenario.search import Sweep
from metta_sandbox.scenario.units import Duration
from metta_sandbox.scenario.values import Value
from metta_sandbox.scenario.workload import Workload
from metta_sandbox.words import many, time

if TYPE_CHECKING:
    from metta_sandbox.checks.evidence import Evidence, PlacedEvent

#: Fields that say who emits; what must never come from somebody needs that somebody.
_WHO = ("node", "node_rank", "rank", "local_rank", "trial", "run", "group")


#: Trials that are told one by one.
_MOST_SHOWN = 10


#: Things that have an order.
_FEWEST = 2


class EventsCheck(CheckKind):
    """Events that happen, never happen, or happen in an order and within a time."""

    key = "events"
    about = "What happens, never happens, in which order and within which time."
    example = "events: {in_order: [handoff.sent, handoff.received], within: 5s}"

    happens: EventName | None = Field(default=None, description="It happens.")
    never: EventName | None = Field(
        default=None,
        description="It never happens, though whoever is named in `where` told something.",
    )
    in_order: (
        Annotated[
            tuple[
                Annotated[
                    EventPattern, BeforeValidator(moment, json_schema_input_type=str | EventPattern)
                ],
                ...,
            ],
            Field(strict=False),
        ]
        | None
    ) = Field(
        default=None,
        description="Events, or mappings of `event` and `where`: the first of the first, the next "
        "after it, and so on.",
    )
    where: Where = Field(default_factory=dict, description=WHERE)
    times: Count | None = Field(
        default=None, description="How often it happens. Default: at least once."
    )
    within: Duration | None = Field(
        default=None,
        description="The longest from the first to the last of `in_order`. Default: no limit.",
    )
    each: Literal["trial"] | None = Field(
        default=None, description="It must hold for each trial that began, by itself."
    )

    @model_validator(mode="after")
    def _say_one_thing(self) -> Self:
        if sum(said is not None for said in (self.happens, self.never, self.in_order)) != 1:
            raise ValueError("expected one of happens, never and in_order")
        if self.times is not None and self.happens is None:
            raise ValueError("expected times with happens only")
        if self.within is not None and self.in_order is None:
            raise ValueError("expected within with in_order only")
        if self.in_order is not None and len(self.in_order) < _FEWEST:
            raise ValueError("expected at least two events in_order")
        return self

    @property
    def hosts(self) -> NamedHosts:
        """The nodes that conditions name."""
        moments = enumerate(self.in_order or ())
        found: list[tuple[tuple[str | int, ...], Where]] = [
            (("where", "node"), self.where),
            *((("in_order", index, "where", "node"), each.where) for index, each in moments),
        ]
        named = ((path, where.get("node")) for path, where in found)
        return tuple((path, host) for path, host in named if isinstance(host, str))

    @property
    def wanted(self) -> str:
        """What must happen, or must not."""
        rest = conditions(self.where) + ("" if self.each is None else " for each trial")
        if self.in_order is not None:
            limit = "" if self.within is None else f" within {time(self.within)}"
            return f"{' before '.join(map(str, self.in_order))}{rest}{limit}"
        if self.never is not None:
            return f"{self.never}{rest} never happens"
        times = "" if self.times is None else f" {self.times.often}"
        return f"{self.happens}{rest} happens{times}"

    def impossible(self, _ranks: int, workload: Workload, _sweep: Sweep) -> Iterator[Misfit]:
        """Find events that nobody emits."""
        if workload.run is None and workload.trainer.bundled:
            for path, name in self._strange():
                yield path, f"nobody emits {name}{did_you_mean(name, EVENTS)}"

    def unlikely(self) -> Iterator[str]:
        """Name events that nobody of ours emits, so that only a trainer of the user's can."""
        for _, name in self._strange():
            yield f"only what you bring can emit {name}{did_you_mean(name, EVENTS)}"

    def _strange(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        named: list[tuple[tuple[str | int, ...], str | None]] = [
            (("happens",), self.happens),
            (("never",), self.never),
            *((("in_order", index), each.event) for index, each in enumerate(self.in_order or ())),
        ]
        return ((path, name) for path, name in named if name is not None and name not in EVENTS)

    def __str__(self) -> str:
        return f"events: {self.wanted}"


def check(expected: EventsCheck, evidence: Evidence) -> Judgement:
    """Judge events by the timeline's order.

    A time between two is that of their emitter's own clock, if one process emitted both; else the
    time between their receipts by the harness, as clocks of different nodes do not agree.
    """
    if not evidence.moments:
        return unclear("nobody told any event", "timeline.jsonl")
    cases: list[Mapping[str, Value]] = [expected.where]
    if expected.each == "trial":
        if not evidence.begun:
            return judge(["no trial ever began"], "")
        cases = [{**expected.where, "trial": number} for number in sorted(evidence.begun)]
    judgements = [_of(expected, evidence.moments, where) for where in cases]
    for verdict in ("failed", "inconclusive"):
        if bad := [each for each in judgements if each.verdict == verdict]:
            return bad[0] if len(bad) == 1 else _together(bad)
    return _together(judgements)


def _together(judgements: Sequence[Judgement]) -> Judgement:
    shown = judgements[:_MOST_SHOWN]
    more = len(judgements) - len(shown)
    rest = [f"and {more} more"] if more else []
    detail = "\n".join([*(each.detail for each in shown), *rest])
    seen = "\n".join([*(each.seen or each.detail for each in shown), *rest])
    where = tuple(place for each in shown for place in each.where)
    return Judgement(judgements[0].verdict, detail, seen, where)


def _of(
    expected: EventsCheck, moments: Sequence[PlacedEvent], where: Mapping[str, Value]
) -> Judgement:
    if expected.in_order is not None:
        return _in_order(expected, moments, where)
    name = expected.never or expected.happens or ""
    title = f"{name}{conditions(where)}"
    found = list(_matching(moments, name, where))
    if expected.never is not None:
        if found:
            wrong = [
                Finding(
                    f"expected {title} never, saw it {_at(each)}", each.place, f"{name} {_at(each)}"
                )
                for each in found
            ]
            return judge(wrong, "")
        return _none(title, moments, where)
    places = [each.place for each in found]
    held = bool(found) if expected.times is None else expected.times.hold(len(found))
    seen = many(len(found), "time")
    if held and not found:
        return _none(title, moments, where)
    if held:
        return judge([], f"{title}: {seen}", places)
    times = "at least once" if expected.times is None else expected.times.often
    near = _last(moments, name)
    text = f"expected {title} {times}, saw it {seen}{near}"
    place = places[-1] if places else "timeline.jsonl"
    return judge([Finding(text, place, f"{title}: {seen}{near}")], "")


def _none(title: str, moments: Sequence[PlacedEvent], where: Mapping[str, Value]) -> Judgement:
    """Pass what did not happen, if whoever it might have happened to told anything at all."""
    who = {key: value for key, value in where.items() if key in _WHO}
    if not any(_has(each, who) for each in moments):
        return unclear(f"{title} never happened, but nor did anything{conditions(who)}")
    return judge([], f"none among {many(len(moments), 'event')}", ["timeline.jsonl"])


def _last(moments: Sequence[PlacedEvent], name: str) -> str:
    others = [each for each in moments if each.event.name == name]
    return f"; {name} as such {many(len(others), 'time')}" if others else ""


def _in_order(
    expected: EventsCheck, moments: Sequence[PlacedEvent], where: Mapping[str, Value]
) -> Judgement:
    """Look for the first of the first, then the first of the next after it, and so on."""
    path: list[PlacedEvent] = []
    at = 0
    for wanted in expected.in_order or ():
        asked = {**where, **wanted.where}
        title = f"{wanted.event}{conditions(asked)}"
        later = next(_matching(moments[at:], wanted.event, asked), None)
        if later is None:
            before = next(_matching(moments[:at], wanted.event, asked), None)
            after = f" after {path[-1].event.name} {_at(path[-1])}" if path else ""
            seen = "none" if before is None else f"it {_at(before)} only"
            place = (before or (path[-1] if path else moments[-1])).place
            text = f"expected {title}{after}, saw {seen}"
            return judge([Finding(text, place, f"{title}{after}: {seen}")], "")
        path.append(later)
        at = moments.index(later, at) + 1
    seconds, clock = between(path[0], path[-1])
    places = [each.place for each in path]
    took = f"{seconds:.3f} s {clock}"
    names = f"{path[0].event.name} to {path[-1].event.name}{conditions(where)}"
    if expected.within is not None and seconds > expected.within:
        text = f"expected {names} within {time(expected.within)}, saw {took} ({places[0]})"
        return judge([Finding(text, places[-1], f"{names}: {took}")], "")
    return judge([], f"{names}: {took}", places)


def between(first: PlacedEvent, last: PlacedEvent) -> tuple[float, str]:
    """Give the seconds between two events, and by which clock."""
    one, other = first.event, last.event
    emitter = (one.get("node"), one.get("pid"))
    if None not in emitter and emitter == (other.get("node"), other.get("pid")):
        monos = one.get("mono"), other.get("mono")
        if all(isinstance(mono, (int, float)) for mono in monos):
            return monos[1] - monos[0], f"by the clock of {emitter[0]}"
    return other.received - one.received, "by receipt at the harness"


def _matching(
    moments: Sequence[PlacedEvent], name: str, where: Mapping[str, Value]
) -> Iterator[PlacedEvent]:
    return (each for each in moments if each.event.name == name and _has(each, where))


def _has(moment: PlacedEvent, where: Mapping[str, Value]) -> bool:
    if not where:
        return True
    fields = moment.event.fields
    if "trial" not in fields and moment.trial_of_group is not None:
        fields = {**fields, "trial": moment.trial_of_group}
    inner = fields if all(key in fields for key in where) else {**flat(fields), **fields}
    return all(key in inner and same(value, inner[key]) for key, value in where.items())


def _at(moment: PlacedEvent) -> str:
    return f"at +{moment.event.received:.3f}s ({moment.place})"


CHECK = CheckPair(EventsCheck, check)
