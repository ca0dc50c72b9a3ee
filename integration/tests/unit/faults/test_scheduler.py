"""When faults strike and are healed, and that nothing is proven that no probe saw."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from metta_sandbox.errors import StackError
from metta_sandbox.faults import scheduler as module
from metta_sandbox.faults.scheduler import FaultScheduler
from metta_sandbox.scenario.faults import CATALOGUE, EXECUTORS
from metta_sandbox.scenario.faults.executor import Executor, Observed
from metta_sandbox.scenario.loading import parse
from metta_sandbox.verdict import Verdict

STEP: dict[str, Any] = {"event": "train.step", "rank": 1, "trial": 2, "step": 20}


@dataclass
class Node:
    """What the faults of these tests strike: one thing that is there, or not."""

    there: bool = False
    sabotaged: bool = False
    broken: bool = False
    did: list[str] = field(default_factory=list)


class Flip(Executor[Any]):
    """Makes it be there."""

    patience = 0.2

    def before(self) -> Observed:
        return Observed(not self.context.node.there, "before")  # type: ignore[attr-defined]

    def inject(self) -> None:
        node: Node = self.context.node  # type: ignore[attr-defined]
        node.did.append(f"{self.name} strikes")
        if node.broken:
            raise StackError("it broke")
        node.there = not node.sabotaged

    def during(self) -> Observed:
        there: bool = self.context.node.there  # type: ignore[attr-defined]
        return Observed(there, "there" if there else "not there")

    def heal(self) -> None:
        node: Node = self.context.node  # type: ignore[attr-defined]
        node.did.append(f"{self.name} heals")
        node.there = False

    def after(self) -> Observed:
        return Observed(not self.context.node.there, "gone")  # type: ignore[attr-defined]


class FaultContext:
    """Stands for a stack."""

    def __init__(self, text: str) -> None:
        self.scenario = parse(f"version: 1\nname: x\nfaults:\n{text}", Path("x.yaml"))
        self.plan = self
        self.hosts = self.scenario.hosts
        self.node = Node()
        self.arms: list[dict[str, Any]] = []

    def arm(self, arms: Sequence[Mapping[str, Any]]) -> None:
        self.arms = [dict(each) for each in arms]


class Timeline:
    """Keeps what was done about faults."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str]] = []
        self.nodes: set[str] = set()

    def fault(self, name: str, action: str, *, node: str, **_: Any) -> None:
        self.entries.append((name, action))
        self.nodes.add(node)


class Play:
    """A scenario's faults being conducted."""

    def __init__(self, text: str) -> None:
        self.context = FaultContext(text)
        self.timeline = Timeline()
        self.told: list[str] = []
        tell: Any = self.told.append
        self.scheduler = FaultScheduler(self.context, self.timeline, tell)  # type: ignore[arg-type]
        self.scheduler.prepare()
        self.scheduler.began()

    @property
    def armed(self) -> list[str]:
        return [each["id"] for each in self.context.arms]

    def event(self, held: Sequence[str] = (), **record: Any) -> None:
        self.scheduler.take(
            {"type": "event", "node": "sweep-worker", "record": record, "held": list(held)}
        )

    def line(self, text: str, node: str = "sweep-worker") -> None:
        message = {"type": "lines", "node": node, "source": "rank-1", "lines": [text]}
        self.scheduler.take(message)

    def wait(self) -> None:
        time.sleep(max(0.0, self.scheduler.due - time.monotonic()))
        self.scheduler.act()

    def end(self) -> list[tuple[bool, bool]]:
        self.scheduler.heal()
        results, checks = self.scheduler.conclude()
        assert [each.verdict is Verdict.PASSED for each in checks] == [r.proven for r in results]
        return [(each.fired, each.proven) for each in results]


@pytest.fixture(autouse=True)
def flips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXECUTORS", dict.fromkeys(EXECUTORS, Flip))
    monkeypatch.setattr(module, "_LAST_LOOK", 0.1)


PAUSE = "  - {pause: {node: sweep-worker}, when: %s}\n"
TWO = PAUSE.replace("}\n", ", until: %s}\n")


def test_every_fault_of_the_catalogue_has_what_carries_it_out() -> None:
    assert list(EXECUTORS) == list(CATALOGUE.values())


def test_an_armed_event_is_held_until_the_fault_has_struck() -> None:
    play = Play(PAUSE % "{event: train.step, rank: 1, trial: 2, step: 20}")
    assert play.context.arms == [{"id": "pause/start", "match": STEP}]

    play.event(**{**STEP, "step": 19})
    assert play.context.node.did == []
    play.event(["pause/start"], **STEP)

    assert play.context.node.did == ["pause strikes"]
    assert play.armed == []
    assert play.end() == [(True, True)]
    assert play.scheduler.conclude()[0][0].late == 0.0
    assert play.context.node.did == ["pause strikes", "pause heals"]
    assert play.timeline.entries == [("pause", "struck"), ("pause", "healed")]
    assert play.timeline.nodes == {"sweep-worker"}


def test_one_that_came_by_way_of_a_log_says_how_late_it_was() -> None:
    play = Play(PAUSE % "{event: train.step, step: 20}")
    play.event(**STEP, mono=time.monotonic() - 0.25)

    play.end()
    result = play.scheduler.conclude()[0][0]
    assert result.late is not None
    assert 0.25 <= result.late < 5
    assert "not held" in result.proof


def test_a_line_of_a_node_sets_it_off_and_one_of_another_does_not() -> None:
    play = Play(PAUSE % "{log: 'epoch [3-9]', on: sweep-worker}")
    play.line("epoch 3", "sweep-master")
    play.line("epoch 2")
    assert play.context.node.did == []
    play.line("now epoch 3 begins")

    assert play.end() == [(True, True)]
    assert play.scheduler.conclude()[0][0].late is not None


@pytest.mark.parametrize(
    ("moments", "ends"),
    [
        ("{log: '^(a+)+$'}", [(False, False)]),
        ("{log: ready}, until: {log: '^(a+)+$'}", [(True, False)]),
    ],
)
def test_a_line_that_takes_for_ever_to_match_proves_nothing_and_holds_nobody_up(
    moments: str, ends: list[tuple[bool, bool]]
) -> None:
    play = Play(PAUSE % moments)
    play.line("ready")
    for _ in range(100):  # each would take a second
        play.line("a" * 40 + "!")

    assert play.end() == ends
    (result,) = play.scheduler.conclude()[0]
    assert "the pattern '^(a+)+$' could not be matched against this line within 1 s" in result.proof
    assert "(sweep-worker: 'aaaa" in result.proof


def test_a_call_of_the_api_is_held() -> None:
    play = Play(PAUSE % "{call: 2, route: GET /whoami}")
    match = {"event": "api.request", "method": "GET", "route": "/whoami", "call": 2}
    assert play.context.arms == [{"id": "pause/start", "match": match}]

    play.event(["pause/start"], **match)

    assert play.end() == [(True, True)]


def test_it_strikes_so_long_after_and_is_healed_so_long_after_its_start() -> None:
    play = Play(TWO % ("{event: run.named, after: 50ms}", "{after: 50ms}"))
    assert play.armed == []  # nobody waits that long
    play.event(event="run.named")
    assert play.context.node.did == []
    play.wait()
    assert play.context.node.did == ["pause strikes"]
    play.wait()

    assert play.context.node.did == ["pause strikes", "pause heals"]
    assert play.end() == [(True, True)]


def test_an_end_that_is_an_event_is_armed_under_another_name() -> None:
    play = Play(TWO % ("{event: suggestion.made}", "{event: run.named}"))
    play.event(["pause/start"], event="suggestion.made")
    assert play.armed == ["pause/end"]
    play.event(["pause/end"], event="run.named")

    assert play.armed == []
    assert play.context.node.did == ["pause strikes", "pause heals"]


def test_one_fault_follows_another() -> None:
    first = TWO % ("{after: 10ms}", "{after: 10ms}")
    text = first + "  - {name: next, pause: {node: sweep-master}, when: {healed: pause}}\n"
    play = Play(text)
    while len(play.context.node.did) < 3:
        play.wait()

    assert play.context.node.did == ["pause strikes", "pause heals", "next strikes"]
    assert play.end() == [(True, True), (True, True)]


def test_a_trigger_that_never_came_is_told() -> None:
    play = Play(PAUSE % "{event: train.step, step: 99}")

    assert play.end() == [(False, False)]
    ((result,), (check,)) = play.scheduler.conclude()
    assert "never set off: train.step (step 99) never came" in result.proof
    assert check.verdict is Verdict.INCONCLUSIVE


def test_what_was_sabotaged_is_inconclusive_with_what_the_probe_saw() -> None:
    play = Play(PAUSE % "{event: run.named}")
    play.context.node.sabotaged = True
    play.event(["pause/start"], event="run.named")

    assert play.end() == [(True, False)]
    assert "during: not there" in play.scheduler.conclude()[0][0].proof


def test_one_that_was_there_before_proves_nothing() -> None:
    play = Play(PAUSE % "{event: run.named}")
    play.context.node.there = True
    play.event(["pause/start"], event="run.named")

    assert play.end() == [(True, False)]


def test_one_that_breaks_lets_go_of_who_waits_and_keeps_no_other_from_healing() -> None:
    text = PAUSE % "{event: run.named}"
    play = Play(text + text)
    play.context.node.broken = True
    play.event(["pause/start", "pause-2/start"], event="run.named")

    assert play.armed == []
    assert play.end() == [(True, False), (True, False)]
    assert play.context.node.did[2:] == ["pause heals", "pause-2 heals"]
    assert "broke: it broke" in play.scheduler.conclude()[0][0].proof


def test_one_that_must_follow_another_event_waits_for_it_and_lets_go_of_the_trigger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        Flip, "must_follow", lambda _, record: "tracking.started" if "step" in record else None
    )
    play = Play(PAUSE % "{event: train.step}")
    play.event(["pause/start"], event="train.step", trial=2, step=1)
    assert play.armed == ["pause/start, later"]
    assert play.context.node.did == []

    play.event(["pause/start, later"], event="tracking.started", trial=1)
    assert play.context.node.did == []
    play.event(["pause/start, later"], event="tracking.started", trial=2)

    assert play.context.node.did == ["pause strikes"]
    assert play.armed == []


def test_one_that_says_how_long_it_lasts_ends_by_itself() -> None:
    play = Play("  - {restart: {node: sweep-worker, down: 50ms}, when: {event: train.step}}\n")
    play.event(["restart/start"], event="train.step")
    assert play.context.node.there

    play.wait()

    assert not play.context.node.there
    assert play.end() == [(True, True)]


def test_a_node_that_has_come_back_is_told_what_is_waited_for() -> None:
    play = Play(PAUSE % "{event: train.step}")
    play.context.arms = []

    play.scheduler.take({"type": "registered", "node": "sweep-worker", "address": "x"})

    assert play.armed == ["pause/start"]


def test_what_is_healed_at_the_end_gets_time_to_be_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Flip, "patience", 60.0)
    looks = iter([False, False, True])
    monkeypatch.setattr(Flip, "after", lambda _: Observed(next(looks), "later"))
    play = Play(PAUSE % "{event: train.step}")
    play.event(["pause/start"], event="train.step")

    assert play.end() == [(True, True)]


def test_a_node_is_excused_while_a_fault_is_there_and_soon_after() -> None:
    until = "until: {event: train.finished}"
    play = Play(f"  - {{pause: {{node: sweep-worker}}, when: {{event: train.step}}, {until}}}")
    assert not play.scheduler.excuses("sweep-worker")
    play.event(event="train.step")
    assert play.scheduler.excuses("sweep-worker")
    assert not play.scheduler.excuses("sweep-master")
    play.event(event="train.finished")
    assert play.scheduler.excuses("sweep-worker")
    (course,) = play.scheduler._courses
    course.healed_at -= 3600
    assert not play.scheduler.excuses("sweep-worker")
