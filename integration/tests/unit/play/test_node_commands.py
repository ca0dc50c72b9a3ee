"""Commands that run on nodes beside the sweep: on nodes that answer, and on those that don't."""

from __future__ import annotations

import queue
from collections import deque
from types import SimpleNamespace
from typing import Any, cast

import pytest

from metta_sandbox.errors import StackError
from metta_sandbox.node.agent.events import ApiReady
from metta_sandbox.play import executing as module
from metta_sandbox.play.executing import execute
from metta_sandbox.play.job import Job
from metta_sandbox.play.nodes import Nodes
from metta_sandbox.play.readiness import await_ready
from metta_sandbox.stack.link import HubLink
from metta_sandbox.timeline.recording import Timeline

HOSTS = ("sweep-master", "sweep-worker")
JOB = Job("python", "x", ("sweep", "run=x"), "/w", {})
COMMANDS = {host: ["look"] for host in HOSTS}
#: One of ``messages.Heard``; not always a whole one.
Message = Any


class Link:
    """A connection to nodes of which only some answer."""

    def __init__(self, *answering: str) -> None:
        self.answering = answering
        self.asked: list[tuple[str, str]] = []
        self.messages: deque[Message] = deque(
            {"type": "registered", "node": host, "address": "127.0.0.1"} for host in HOSTS
        )
        self.messages.append({"type": "registered", "node": "dummy-api", "address": "127.0.0.1"})
        ready = ApiReady(host="api", observatory_port=1, cogweb_port=2).record()
        self.messages.append({"type": "event", "node": "dummy-api", "record": ready})

    def receive(self, _timeout: float) -> Message | None:
        return self.messages.popleft() if self.messages else None

    def ask(self, node: str, verb: str, **args: Any) -> queue.Queue[Message]:
        self.asked.append((node, verb))
        reply: queue.Queue[Message] = queue.Queue()
        if node in self.answering:
            reply.put({"ok": True, "result": None})
            end = {"type": "exit", "node": node, "group": args["group"], "status": 0}
            self.messages.append(end)
        return reply

    def result(self, reply: queue.Queue[Message], node: str, verb: str, patience: float) -> Any:
        try:
            answer = reply.get(timeout=patience) if patience else reply.get_nowait()
        except queue.Empty:
            raise StackError(f"{node} did not answer {verb!r} within {patience:g} s") from None
        if not answer["ok"]:
            raise StackError(f"{node} refused {verb!r}: {answer['error']}")
        return answer["result"]


def ready(timeline: Timeline, link: Link) -> Nodes:
    nodes = Nodes(cast("HubLink", link), HOSTS, timeline, dict)
    await_ready(nodes, 1)
    return nodes


def test_all_are_asked_before_any_has_answered(timeline: Timeline) -> None:
    link = Link(*HOSTS)
    ends = execute(ready(timeline, link), JOB, "look", COMMANDS, 60)
    assert link.asked == [(host, "start") for host in HOSTS]
    assert {host: end.status for host, end in ends.items()} == dict.fromkeys(HOSTS, 0)


def test_one_that_does_not_answer_is_given_up_once_the_others_are_done(timeline: Timeline) -> None:
    nodes = ready(timeline, Link(HOSTS[0]))
    # A minute of patience, of which nothing is used.
    ends = execute(nodes, JOB, "look", COMMANDS, 60, soon=0)
    assert ends[HOSTS[0]].status == 0
    assert ends[HOSTS[1]].problem == "sweep-worker has not answered for 0 s"


def test_one_that_refuses_is_told_of_with_its_reason(timeline: Timeline) -> None:
    class Refusing(Link):
        def ask(self, node: str, verb: str, **args: Any) -> queue.Queue[Message]:
            reply = super().ask(node, verb, **args)
            if node == HOSTS[1]:
                reply.put({"ok": False, "error": "no room"})
            return reply

    ends = execute(ready(timeline, Refusing(HOSTS[0])), JOB, "look", COMMANDS, 60)
    assert ends[HOSTS[1]].problem == "sweep-worker refused 'start': no room"


def test_on_a_busy_machine_one_gets_as_much_longer_as_the_others_took(
    timeline: Timeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Busy(Link):
        """Answers late, by a clock that goes on whenever somebody waits."""

        now = 0.0

        def __init__(self) -> None:
            super().__init__()
            self.replies: dict[str, queue.Queue[Message]] = {}

        def ask(self, node: str, verb: str, **args: Any) -> queue.Queue[Message]:
            self.replies[node] = super().ask(node, verb, **args)
            return self.replies[node]

        def receive(self, timeout: float) -> Message | None:
            if not self.messages:
                self.now += 1
                for host, due in zip(HOSTS, (4, 11), strict=True):
                    if self.now == due:
                        self.replies[host].put({"ok": True, "result": None})
                        end = {"type": "exit", "node": host, "group": "look", "status": 0}
                        self.messages.append(end)
            return super().receive(timeout)

    link = Busy()
    nodes = ready(timeline, link)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: link.now))

    ends = execute(nodes, JOB, "look", COMMANDS, 60, soon=2)

    assert {host: end.status for host, end in ends.items()} == dict.fromkeys(HOSTS, 0)
