"""Nodes that are lost in mid-sweep: who is waited for, how long, and what they are started with."""

from __future__ import annotations

import queue
from collections import deque
from typing import Any, cast

import pytest

from metta_sandbox.errors import StackError
from metta_sandbox.play import nodes as module
from metta_sandbox.play.following import follow
from metta_sandbox.play.job import Job
from metta_sandbox.play.nodes import Nodes
from metta_sandbox.play.outcome import End, Ending, Limits
from metta_sandbox.play.rejoining import Absentees
from metta_sandbox.stack.link import HubLink
from metta_sandbox.timeline.recording import Event, Timeline

HOSTS = ("sweep-master", "sweep-worker")
JOB = Job("python", "x", ("sweep", "run=x"), "/w", {})
#: One of ``messages.Heard``; not always a whole one.
Message = Any


def registered(host: str, address: str = "10.0.0.1") -> Message:
    return {"type": "registered", "node": host, "address": address}


def lost(host: str) -> Message:
    return {"type": "lost", "node": host}


def ended(host: str) -> Message:
    return {"type": "exit", "node": host, "group": "sweep", "status": 0}


class Link:
    """A connection over which these messages come, and that keeps what nodes are asked."""

    def __init__(self, *messages: Message, refuses: bool = False) -> None:
        self.messages = deque(messages)
        self.refuses = refuses
        self.asked: list[tuple[str, str, Message]] = []

    def receive(self, _timeout: float) -> Message | None:
        return self.messages.popleft() if self.messages else None

    def ask(self, host: str, verb: str, **args: Any) -> queue.Queue[Message]:
        self.asked.append((host, verb, args))
        return queue.Queue()

    def result(self, *_: object, **__: object) -> None:
        if self.refuses and len(self.asked) > len(HOSTS):
            raise StackError("no")


def played(
    timeline: Timeline, *messages: Message, rejoin: float | None = 3600, refuses: bool = False
) -> tuple[Ending, Link, list[Event]]:
    link = Link(*map(registered, (*HOSTS, "dummy-api")), *messages, refuses=refuses)
    ends = {"sweep-worker": "was killed by signal 9", "sweep-master": "was killed by signal 9"}
    told: list[Event] = []
    nodes = Nodes(cast("HubLink", link), HOSTS, timeline, lambda: ends)
    nodes.subscribe(told.append)
    nodes.start(JOB)
    return follow(nodes, Limits(3600, 0.01, rejoin)), link, told


def test_a_node_that_comes_back_gets_the_same_command_place_and_variables(
    timeline: Timeline,
) -> None:
    ending, link, told = played(
        timeline,
        lost("sweep-worker"),
        registered("sweep-worker", "10.0.0.9"),
        *map(ended, HOSTS),
    )

    assert ending.end is End.FINISHED
    _, first, again = link.asked
    assert again[:2] == first[:2] == ("sweep-worker", "start")
    assert again[2]["command"] == first[2]["command"]
    same = {key: value for key, value in first[2]["env"].items() if key != "SKYPILOT_NODE_IPS"}
    assert same.items() <= again[2]["env"].items()
    assert [each.name for each in told][:2] == ["node.lost", "node.rejoined"]
    assert told[0].get("how") == "was killed by signal 9"


def test_one_that_does_not_come_back_in_time_ends_the_sweep(timeline: Timeline) -> None:
    ending, link, _ = played(timeline, lost("sweep-worker"), rejoin=0)

    assert ending == Ending(
        End.NODE_LOST, "sweep-worker was killed by signal 9, and did not come back in 0 s"
    )
    assert len(link.asked) == len(HOSTS)


@pytest.mark.parametrize(
    ("messages", "rejoin"),
    [
        ([lost("sweep-master")], 3600),
        ([lost("sweep-worker")], None),
        ([ended("sweep-master"), lost("sweep-worker")], 3600),
    ],
    ids=["rank 0's", "end_job", "rank 0 is done"],
)
def test_who_could_not_go_on_is_not_waited_for(
    timeline: Timeline, messages: list[Message], rejoin: float | None
) -> None:
    ending, _, told = played(timeline, *messages, rejoin=rejoin)

    assert ending.end is End.NODE_LOST
    assert "node.lost" not in [each.name for each in told]


def test_one_that_refuses_to_start_again_is_lost(timeline: Timeline) -> None:
    ending, _, _ = played(timeline, lost("sweep-worker"), registered("sweep-worker"), refuses=True)

    assert ending.end is End.NODE_LOST
    assert ending.reason.startswith("sweep-worker has come back, and is lost again: no")


def test_nothing_is_started_again_once_all_is_over(timeline: Timeline) -> None:
    bad = {"type": "exit", "node": "sweep-master", "group": "sweep", "status": 1}
    ending, link, _ = played(timeline, lost("sweep-worker"), bad, registered("sweep-worker"))

    assert ending.end is End.NODE_FAILED
    assert len(link.asked) == len(HOSTS)


def test_an_end_that_an_engine_learns_of_late_is_waited_for() -> None:
    looks = iter([{}, {}, {"n": "was killed by signal 9"}])
    absence = Absentees(1).wait_for("n", lambda: next(looks))

    assert absence is not None
    assert absence.how == "was killed by signal 9"


@pytest.fixture(autouse=True)
def _in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KNOWN", 0.0)
