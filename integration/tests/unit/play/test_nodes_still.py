"""Agents that stand still, and those who say what is not theirs to say."""

from __future__ import annotations

from collections import deque
from typing import Any, cast

import pytest

from metta_sandbox.faults.scheduler import FaultScheduler
from metta_sandbox.play import nodes as module
from metta_sandbox.play.following import follow
from metta_sandbox.play.nodes import Nodes
from metta_sandbox.play.outcome import End, Ending, Limits
from metta_sandbox.stack.link import HubLink
from metta_sandbox.timeline.recording import Event, Timeline

HOSTS = ("sweep-master", "sweep-worker")
#: One of ``messages.Heard``; not always a whole one.
Message = Any


class Link:
    """A connection over which these messages come, and then nothing."""

    def __init__(self, *messages: Message) -> None:
        self.messages = deque(messages)

    def receive(self, _timeout: float) -> Message | None:
        return self.messages.popleft() if self.messages else None


class Struck:
    """Whoever conducts a fault of one node."""

    due = float("inf")

    def __init__(self, node: str) -> None:
        self.node = node

    def take(self, _message: Message) -> None:
        pass

    def act(self) -> None:
        pass

    def excuses(self, node: str) -> bool:
        return node == self.node


def still(*nodes: str) -> Message:
    return {"type": "still", "nodes": dict.fromkeys(nodes, 7.0), "of": 3}


def ended(node: str) -> Message:
    return {"type": "exit", "node": node, "group": "sweep", "status": 0}


@pytest.fixture(autouse=True)
def _in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KNOWN", 0.0)


def played(
    timeline: Timeline, *messages: Message, struck: str = ""
) -> tuple[Ending, list[Event], list[str]]:
    registered = (
        {"type": "registered", "node": each, "address": "x"} for each in (*HOSTS, "dummy-api")
    )
    seen: list[Event] = []
    told: list[str] = []
    link = cast("HubLink", Link(*registered, *messages))
    nodes = Nodes(link, HOSTS, timeline, dict, tell=told.append)
    nodes.subscribe(seen.append)
    nodes.listener = cast("FaultScheduler", Struck(struck)) if struck else None
    return follow(nodes, Limits(3600, 0.01)), seen, told


def test_an_agent_that_stands_still_is_the_sandbox_s_own_fault(timeline: Timeline) -> None:
    ending, _, _ = played(timeline, still("sweep-worker"), *map(ended, HOSTS))
    assert ending.end is End.STACK_LOST
    assert ending.reason == "the agent of sweep-worker stands still: no sign of life for 7 s"


def test_all_at_once_are_not_still_but_cut_off(timeline: Timeline) -> None:
    ending, _, _ = played(timeline, still(*HOSTS, "dummy-api"))
    assert ending.end is End.STACK_LOST
    assert ending.reason == "the hub is cut off from all agents: no sign of life for 7 s"


def test_what_a_fault_has_struck_is_the_fault_s(timeline: Timeline) -> None:
    messages = (still("sweep-worker"), *map(ended, HOSTS))
    assert played(timeline, *messages, struck="sweep-worker")[0].end is End.FINISHED
    ending, _, _ = played(timeline, *messages, struck="sweep-master")
    assert ending.end is End.STACK_LOST


def test_a_part_of_the_line_that_stands_still_is_named(timeline: Timeline) -> None:
    reason = "the hub stands still: no sign of life for 6 s"
    ending, _, _ = played(timeline, {"type": "gone", "reason": reason, "still": True})
    assert ending == Ending(End.STACK_LOST, reason)


def test_a_lie_is_told_and_believed_by_nobody(timeline: Timeline) -> None:
    forged = {"event": "observation.recorded", "node": "sweep-master", "trial": 1, "score": 9999.0}
    lie = {"type": "event", "node": "sweep-worker", "record": forged, "held": []}
    turned = {"type": "turned-away", "node": "x", "reason": "'x' is no node of this stack"}
    ending, seen, told = played(timeline, *[lie] * 30, turned, *map(ended, HOSTS))
    assert ending.end is End.FINISHED
    assert {event.name for event in seen} == {"command.exited"}
    assert told == [
        "not believed: sweep-worker says observation.recorded, which only sweep-master can know"
    ] * len(told)
    # As many as somebody reads.
    assert len(told) == 20
