"""Waits for the moments at which faults strike and are healed, and has it done.

A moment that is an event or a call of the API is *armed*: whoever emits it waits until the fault
was brought about. A line of a log, and an event that only came by way of a log, can't be held; then
it is told how late the fault was.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from metta_sandbox.faults.context import FaultContext
from metta_sandbox.faults.course import FaultCourse, Phase
from metta_sandbox.matching import Matcher, UnmatchedError
from metta_sandbox.node.agent.load import slowed
from metta_sandbox.node.agent.messages import ArmSaid
from metta_sandbox.node.agent.wire import STILL
from metta_sandbox.report.results import CheckResult, FaultResult
from metta_sandbox.scenario.faults import EXECUTORS, names_of
from metta_sandbox.scenario.faults.trigger import Trigger
from metta_sandbox.scenario.names import API
from metta_sandbox.timeline.recording import Timeline
from metta_sandbox.verdict import Verdict

#: Seconds between two looks at whether a fault is there, or gone.
_LOOK = 0.05
#: Seconds that are looked again for the last time, once the sweep is over.
_LAST_LOOK = 3.0
#: More than any fault is late where clocks are the same; else they are not.
_SAME_CLOCK = 3600.0
#: Seconds that lines which come together get to be matched: whoever hears them must go on.
_PATIENCE = 1.0

_LONGEST_QUOTE = 200

Message = Mapping[str, Any]


class FaultScheduler:
    """Carries out the faults of one scenario.

    Args:
        ground: What they strike.
        timeline: Gets what was done about each.
        tell: Gets a line for whoever watches.

    """

    def __init__(
        self, context: FaultContext, timeline: Timeline, tell: Callable[[str], None]
    ) -> None:
        self._context = context
        self._timeline = timeline
        self._tell = tell
        faults = context.scenario.faults
        self._courses = [
            FaultCourse(name, item, EXECUTORS[type(item.said)](name, item.said, context))
            for name, item in zip(names_of(faults), faults, strict=True)
        ]
        self._next_look = math.inf
        self._matcher = Matcher(_PATIENCE)
        self._given_up: set[str] = set()

    @property
    def late_nodes(self) -> list[str]:
        """The nodes on which the sweep's command is not started with the others."""
        return [node for course in self._courses if (node := course.item.said.late_node)]

    def prepare(self) -> None:
        """Arm what is waited for, before the sweep starts."""
        for course in self._courses:
            if course.by_itself:
                course.prepare()
        moments = [moment for one in self._courses for moment in (one.when, one.item.until)]
        if any(moment is not None and moment.log is not None for moment in moments):
            self._matcher.start()
        self._arm()

    def began(self) -> None:
        """Take in that the sweep has started."""
        now = time.monotonic()
        for course in self._courses:
            said, when = course.item.said, course.when
            if said.comes_after is not None:
                self._delay(course, now + said.comes_after)
            elif when is None and not course.by_itself and said.trigger == "may":
                self._strike(course, {}, "from the start")
            elif when is not None and _is_after_alone(when):
                self._delay(course, now + (when.after or 0.0))

    # -- while the sweep is followed ------------------------------------------------------

    @property
    def due(self) -> float:
        """When the scheduler wants to act next, by ``time.monotonic``."""
        moments = [min(course.strike_at, course.heal_at) for course in self._courses]
        return min([*moments, self._next_look], default=math.inf)

    def act(self) -> None:
        """Strike, heal and look again, as far as that is due."""
        now = time.monotonic()
        for course in self._courses:
            if course.phase is Phase.DELAYED and course.strike_at <= now:
                course.strike_at = math.inf
                self._strike(course, course.executor.moment, course.came)
            if course.phase is Phase.STRUCK and course.heal_at <= now:
                self._heal(course)
        self._look_again()

    def take(self, message: Message) -> None:
        """Take in what a node reports: a moment that is waited for, or what shows a fault."""
        for course in self._courses:
            if course.executor.hears_all or course.fired:
                course.executor.take(message)
            if course.phase is Phase.AWAITED and course.by_itself and course.executor.struck:
                self._note_strike(course)
        kind = message["type"]
        if kind == "event":
            self._take_event(message)
        elif kind == "lines":
            self._take_lines(message)
        elif kind == "registered":
            # A node that has come back knows of nothing that is waited for.
            self._arm()
        self._look_again()

    def excuses(self, node: str) -> bool:
        """Tell whether a fault may be why nothing is heard of a node: one is there, or just was."""
        healed_since = time.monotonic() - slowed(2 * STILL)
        struck = (course for course in self._courses if course.fired)
        lasting = (each for each in struck if each.healed_at > healed_since)
        return any(node == host for each in lasting for _, host in each.item.said.hosts)

    def _take_event(self, message: Message) -> None:
        record = {"node": message.get("node"), **message["record"]}
        holders = set(message.get("held") or ())
        for course, trigger, begins in list(self._awaited()):
            if not _matches(trigger, record, course):
                continue
            if begins and (later := course.executor.must_follow(record)):
                # Whoever emitted this goes on.
                course.when = Trigger(event=later, trial=record["trial"])
                self._arm()
                continue
            held = _arm_of(course, begins) in holders
            if held and begins and course.executor.waits_for(record):
                # Whoever emitted it must go on, so that what is struck comes into being.
                course.phase, held = Phase.DELAYED, False
                self._arm()
            late = 0.0 if held else _lateness(record)
            how = f"{trigger}, {'held' if held else 'not held'}"
            self._come(course, trigger, begins, record, how)
            course.late = late if begins else course.late
        if holders:
            self._arm()

    def _take_lines(self, message: Message) -> None:
        read = time.monotonic()
        for course, trigger, begins in list(self._awaited()):
            if trigger.log is None or message["node"] not in _hosts_of(trigger, self._context):
                continue
            line = self._find(course, begins, trigger.log, message)
            if line is not None:
                record = {"node": message["node"], "line": line}
                self._come(course, trigger, begins, record, f"{trigger}, not held")
                course.late = time.monotonic() - read if begins else course.late

    def _find(
        self, course: FaultCourse, begins: bool, pattern: str, message: Message
    ) -> str | None:
        """Find the first line that matches; a pattern that can't be matched is given up."""
        if _arm_of(course, begins) in self._given_up:
            return None
        try:
            match = next(self._matcher.matches([pattern], message["lines"], most=1), None)
        except UnmatchedError as error:
            self._given_up.add(_arm_of(course, begins))
            line = message["lines"][error.index][:_LONGEST_QUOTE]
            told = f"{error.message} ({message['node']}: {line!r}); {error.hint}"
            course.problem = course.problem or told
            return None
        return match.line if match else None

    def _awaited(self) -> Iterator[tuple[FaultCourse, Trigger, bool]]:
        """Give each moment that is waited for, and whether the fault begins with it, or ends."""
        for course in self._courses:
            when, until = course.when, course.item.until
            if course.phase is Phase.AWAITED and when is not None and not course.by_itself:
                yield course, when, True
            elif course.phase is Phase.STRUCK and until is not None and course.heal_at == math.inf:
                yield course, until, False

    def _come(
        self, course: FaultCourse, trigger: Trigger, begins: bool, record: Message, how: str
    ) -> None:
        """Do what is to be done at a moment that has come, or so long after it."""
        at = None if trigger.after is None else time.monotonic() + trigger.after
        if not begins:
            if at is None:
                self._heal(course)
            else:
                course.heal_at = at
        elif at is None:
            self._strike(course, record, how)
        else:
            course.executor.moment, course.came = record, how
            self._delay(course, at)

    def _delay(self, course: FaultCourse, at: float) -> None:
        course.phase, course.strike_at = Phase.DELAYED, at

    def _strike(self, course: FaultCourse, record: Message, how: str) -> None:
        course.executor.moment, course.came = record, how
        course.strike()
        self._struck(course)

    def _note_strike(self, course: FaultCourse) -> None:
        """Take in that one has struck by itself."""
        course.before = course.executor.before()
        course.phase, course.struck_at = Phase.STRUCK, time.monotonic()
        course.look()
        self._struck(course)

    def _struck(self, course: FaultCourse) -> None:
        until = course.item.until
        if until is not None and _is_after_alone(until):
            course.heal_at = course.struck_at + (until.after or 0.0)
        elif course.item.said.lasts is not None:
            course.heal_at = course.struck_at + course.item.said.lasts
        self._record(course, "struck")
        self._tell(f"fault {course.name}: {course.item.said}")
        self._follow(course, "started")

    def _heal(self, course: FaultCourse) -> None:
        course.heal_at = math.inf
        course.heal()
        self._record(course, "healed")
        self._tell(f"fault {course.name} is healed")
        self._follow(course, "healed")

    def _follow(self, first: FaultCourse, what: str) -> None:
        """Set off, or heal, what goes by another's start or end."""
        for course, trigger, begins in list(self._awaited()):
            if getattr(trigger, what) == first.name:
                self._come(course, trigger, begins, {}, str(trigger))

    def _look_again(self) -> None:
        now = time.monotonic()
        waiting = [course for course in self._courses if course.looks_again_until > now]
        for course in waiting:
            course.look()
            if course.looks_again_until <= now:
                self._record(course, "seen" if course.phase is Phase.STRUCK else "gone")
        polled = [course for course in waiting if course.executor.patience < math.inf]
        self._next_look = now + _LOOK if polled else math.inf

    def _arm(self) -> None:
        """Arm what is waited for now, which lets go of whoever waits for anything else."""
        arms: list[ArmSaid] = [
            {"id": _arm_of(course, begins), "match": match}
            for course, trigger, begins in self._awaited()
            if trigger.after is None and (match := _match(trigger, course)) is not None
        ]
        self._context.arm(arms)

    def _record(self, course: FaultCourse, action: str) -> None:
        detail = {"kind": course.item.key, "proven": course.proven, "proof": course.proof}
        self._timeline.fault(course.name, action, node=self._node_of(course), **detail)

    def _node_of(self, course: FaultCourse) -> str:
        """Name the node, or the first of the hosts, that a fault strikes; empty if it is none."""
        said = course.item.said
        if said.target_rank is not None:
            return self._context.host_of(said.target_rank)
        return next((host for _, host in said.hosts), "")

    # -- once the sweep is over -----------------------------------------------------------

    def heal(self) -> None:
        """Heal whatever lasts, so that everything can be ended and collected."""
        for course in self._courses:
            if course.phase is Phase.DELAYED and course.executor.missed():
                self._strike(course, {}, "later than the sweep's end")
        self._look_until(time.monotonic() + _LAST_LOOK, self._courses)
        healed = []
        for course in self._courses:
            said = course.item.said
            if course.phase is Phase.STRUCK and said.heals and said.must_heal:
                self._heal(course)
                healed.append(course)
        self._look_until(math.inf, healed)

    def _look_until(self, deadline: float, courses: Sequence[FaultCourse]) -> None:
        """Look for faults again until each was seen, or a deadline has passed."""
        while time.monotonic() < deadline and any(
            course.looks_again_until > time.monotonic() and course.executor.patience < math.inf
            for course in courses
        ):
            self._look_again()
            time.sleep(_LOOK)

    def conclude(self) -> tuple[tuple[FaultResult, ...], tuple[CheckResult, ...]]:
        """Tell what became of each fault, once nodes report no more."""
        for course in self._courses:
            if course.fired and not course.proven and course.executor.by_reports:
                course.look()
            if course.phase is Phase.HEALED and course.executor.hears_all:
                course.after = course.executor.after()
            if not course.proven:
                self._record(course, "unproven" if course.fired else "never set off")
        self._matcher.close()
        results = tuple(course.result() for course in self._courses)
        return results, tuple(_check(index, each) for index, each in enumerate(self._courses))


def _check(index: int, course: FaultCourse) -> CheckResult:
    verdict = Verdict.PASSED if course.proven else Verdict.INCONCLUSIVE
    return CheckResult(
        name=f"fault {course.name}: {course.item.said}",
        verdict=verdict,
        detail=course.proof,
        expected=course.item.said.proof,
        seen=course.proof,
        asked_by=f"faults[{index}]",
    )


def _arm_of(course: FaultCourse, begins: bool) -> str:
    if not begins:
        return f"{course.name}/end"
    return f"{course.name}/{'start' if course.when is course.item.when else 'start, later'}"


def _is_after_alone(trigger: Trigger) -> bool:
    moments = (trigger.event, trigger.log, trigger.call, trigger.other)
    return all(moment is None for moment in moments)


def _match(trigger: Trigger, course: FaultCourse) -> dict[str, Any] | None:
    """Say what the fields of the event are that a trigger waits for, if it waits for one."""
    if trigger.event is not None:
        return trigger.match
    if trigger.call is None:
        return None
    route = trigger.route or course.item.said.struck or ""
    method, _, template = route.partition(" ")
    match = {"event": "api.request", "method": method, "route": template}
    return {**match, "call": trigger.call}


def _matches(trigger: Trigger, record: Message, course: FaultCourse) -> bool:
    match = _match(trigger, course)
    return match is not None and all(record.get(key) == value for key, value in match.items())


def _hosts_of(trigger: Trigger, context: FaultContext) -> tuple[str, ...]:
    if trigger.on is not None:
        return (trigger.on,)
    return tuple(host for host in context.plan.hosts if host != API)


def _lateness(record: Message) -> float | None:
    """Say how long ago an event was emitted, where its node's clock is this one."""
    mono = record.get("mono")
    if not isinstance(mono, (int, float)):
        return None
    late = time.monotonic() - mono
    return late if 0 <= late < _SAME_CLOCK else None
