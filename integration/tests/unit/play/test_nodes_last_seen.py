from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest

from metta_sandbox.errors import MachineError, StackError
from metta_sandbox.play import following, readiness
from metta_sandbox.play import nodes as module
from metta_sandbox.play.nodes import Nodes
from metta_sandbox.play.outcome import End, Ending, Limits
from metta_sandbox.stack.link import HubLink
from metta_sandbox.timeline.recording import Timeline

HOSTS = ("sweep-master", "sweep-worker")
#: One of ``messages.Heard``; not always a whole one.
Message = Any


class Link:
    """A connection over which these messages come, and then nothing."""

    def __init__(self, *messages: Message) -> None:
        self.messages = deque(messages)

    def receive(self, timeout: float) -> Message | None:
        assert timeout >= -1
        return self.messages.popleft() if self.messages else None


class Full(Timeline):
    """A timeline on a full disk."""

    def require_whole(self) -> None:
        raise MachineError("no room")


def registered(*hosts: str) -> list[Message]:
    return [{"type": "registered", "node": host, "address": "127.0.0.1"} for host in hosts]


def told(node: str, event: str, **fields: Any) -> Message:
    return {"type": "event", "node": node, "record": {"event": event, **fields}}


def printed(node: str, *lines: str, source: str = "sweep") -> Message:
    return {"type": "lines", "node": node, "source": source, "lines": list(lines)}


def ended(node: str, status: int, group: str = "sweep") -> Message:
    return {"type": "exit", "node": node, "group": group, "status": status}


PORTS = {"host": "api", "observatory_port": 1, "cogweb_port": 2}
READY = [*registered(*HOSTS, "dummy-api"), told("dummy-api", "api.ready", **PORTS)]


OPEN: list[Timeline] = []


@pytest.fixture(autouse=True)
def _in_no_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(readiness, "_LOOK", 0.0)
    monkeypatch.setattr(module, "_KNOWN", 0.0)
    yield
    while OPEN:
        with suppress(MachineError):
            OPEN.pop().finish()


def nodes_of(
    tmp_path: Path,
    *messages: Message,
    fallen: Mapping[str, str] | None = None,
    timeline: type[Timeline] = Timeline,
    over: type[Link] = Link,
) -> Nodes:
    record = timeline(tmp_path / "timeline.jsonl")
    OPEN.append(record)
    link = cast("HubLink", over(*messages))
    return Nodes(link, HOSTS, record, lambda: fallen or {})


def follow(tmp_path: Path, *messages: Message, **about: Any) -> Ending:
    return following.follow(nodes_of(tmp_path, *READY, *messages, **about), Limits(60, 0.01))


def test_ready_is_when_all_have_registered_and_the_control_plane_listens(tmp_path: Path) -> None:
    nodes = nodes_of(tmp_path, *READY)

    readiness.await_ready(nodes, 1)

    assert nodes.api["observatory_port"] == 1


@pytest.mark.parametrize(
    ("heard", "missing"),
    [
        (READY[:1], "sweep-worker, dummy-api"),
        (READY[:3], "dummy-api's server"),
    ],
)
def test_whoever_is_missing_is_named(tmp_path: Path, heard: list[Message], missing: str) -> None:
    with pytest.raises(StackError, match=f"not ready within 0.01 s: {missing}"):
        readiness.await_ready(nodes_of(tmp_path, *heard), 0.01)


def test_whoever_ends_at_the_start_is_not_waited_for(tmp_path: Path) -> None:
    nodes = nodes_of(tmp_path, *READY[:1], fallen={"sweep-worker": "exited with status 7"})

    with pytest.raises(StackError, match=r"^not ready: sweep-worker exited with status 7$"):
        readiness.await_ready(nodes, 3600)


def test_a_control_plane_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    fallen = {"dummy-api": "exited with status 3, saying: cannot listen"}
    nodes = nodes_of(tmp_path, *READY[:3], ended("dummy-api", 3, "main"), fallen=fallen)

    with pytest.raises(StackError, match=r"dummy-api exited with status 3, saying: cannot listen"):
        readiness.await_ready(nodes, 3600)


def test_a_sweep_is_over_when_all_rollouts_are(tmp_path: Path) -> None:
    ending = follow(tmp_path, *(ended(host, 0) for host in HOSTS))

    assert ending == Ending(End.FINISHED, "")


def test_a_rollout_that_fails_is_quoted_without_hints_and_events(tmp_path: Path) -> None:
    said = ("sweep: no answer", "  -> is it up?", '{"event": "x"}', "")
    ending = follow(tmp_path, printed("sweep-master", *said), ended("sweep-master", 1))

    assert ending.end is End.NODE_FAILED
    assert ending.reason == (
        "the sweep's rollout on sweep-master exited with status 1, saying: sweep: no answer"
    )


def test_the_first_cause_is_the_reason(tmp_path: Path) -> None:
    lost = {"type": "lost", "node": "sweep-worker"}
    ending = follow(
        tmp_path, lost, ended("sweep-master", 1), fallen={"sweep-worker": "was killed by signal 9"}
    )

    assert ending.end is End.NODE_LOST
    assert ending.reason == "sweep-worker is lost: sweep-worker was killed by signal 9"


@pytest.mark.parametrize("status", [0, -15, 1])
def test_a_node_that_got_notice_counts_as_lost_however_it_used_it(
    tmp_path: Path, status: int
) -> None:
    ending = follow(
        tmp_path,
        told("sweep-worker", "node.notice", signal="SIGTERM", grace=30.0, groups=["sweep"]),
        ended("sweep-master", 0),
        ended("sweep-worker", status),
        ended("sweep-master", 1),
        told("sweep-worker", "node.ended", seconds=6.25, ended={}, killed=[]),
        {"type": "lost", "node": "sweep-worker"},
        fallen={"sweep-worker": "exited with status 0"},
    )

    how = "was preempted: SIGTERM with 30 s notice, all had ended after 6.2 s"
    assert (ending.end, ending.how) == (End.NODE_LOST, how)
    assert ending.reason == f"sweep-worker is lost: sweep-worker {how}"


@pytest.mark.parametrize(("status", "end"), [(-15, End.NODE_LOST), (0, End.FINISHED)])
def test_a_command_that_ends_as_its_engine_stops_the_node_has_not_failed(
    tmp_path: Path, status: int, end: End
) -> None:
    ending = follow(
        tmp_path,
        {**ended("sweep-worker", status), "ending": True},
        {"type": "lost", "node": "sweep-worker"},
        ended("sweep-master", 0),
        fallen={"sweep-worker": "exited with status 0"},
    )

    assert ending.end == end
    if end is End.NODE_LOST:
        assert ending.reason == "sweep-worker is lost: sweep-worker was told to end"


def test_a_node_whose_connection_broke_is_told_from_one_that_ended(tmp_path: Path) -> None:
    ending = follow(tmp_path, {"type": "lost", "node": "sweep-worker"})

    assert ending.reason.endswith("sweep-worker still runs; its connection broke")


def test_a_control_plane_that_died_before_is_named(tmp_path: Path) -> None:
    server = follow(tmp_path, ended("dummy-api", -9, "main"), ended("sweep-master", 1))
    lost = {"type": "lost", "node": "dummy-api"}
    agent = follow(tmp_path, lost, ended("sweep-master", 1), fallen={"dummy-api": "is gone"})

    assert server.reason.endswith("before that, dummy-api's server was killed by signal 9")
    assert agent.reason.endswith("before that, dummy-api was lost: dummy-api is gone")


def test_the_connection_being_gone_names_the_hub(tmp_path: Path) -> None:
    ending = follow(
        tmp_path, {"type": "gone", "reason": ""}, fallen={"hub": "exited with status 1"}
    )

    assert (ending.end, ending.reason) == (
        End.STACK_LOST,
        "the connection to the stack is gone: hub exited with status 1",
    )


def test_silence_says_when_each_node_was_last_heard(tmp_path: Path) -> None:
    ending = follow(tmp_path, told("sweep-master", "train.step", step=7))

    assert ending.end is End.SILENT
    assert "no event and no log line for 0.01 s" in ending.reason
    assert "sweep-master: train.step 7 at 0.0 s, sweep-worker: nothing" in ending.reason


def test_who_is_heard_of_while_all_are_looked_at_is_not_silent(tmp_path: Path) -> None:
    nodes = nodes_of(tmp_path, *READY)
    asked = []

    def looks(times: int) -> str:
        asked.append(times)
        if len(asked) == 1:
            nodes._take(told("sweep-master", "suggestion.made", trial=1, suggestion={}, attempt=1))
        else:
            nodes._take(printed("sweep-master", "[W1123 08:26:04.020 socket.cpp:764] [c10d] …"))
        return ""

    ending = following.follow(nodes, Limits(60, 0.01), looks)

    assert (ending.end, asked) == (End.SILENT, [0, 0])


def test_ranks_that_only_say_that_they_wait_in_vain_are_silent(tmp_path: Path) -> None:
    again = (
        "[W1123 09:26:33.080 socket.cpp:764] [c10d] The IPv6 network addresses of "
        "(sweep-master, 59431) cannot be retrieved (gai error: -2 - Name or service not known)."
    )
    line = {"type": "lines", "node": "sweep-worker", "source": "rank-1", "lines": [again]}

    ending = follow(tmp_path, line)

    assert ending.end is End.SILENT
    assert "no event and no log line, but that PyTorch tries to connect again, for 0.01 s" in (
        ending.reason
    )


def test_a_sweep_whose_timeline_cannot_be_kept_is_ended(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="no room"):
        follow(tmp_path, timeline=Full)


class Flood(Link):
    """A connection over which something comes at any time."""

    def receive(self, timeout: float) -> Message | None:
        return super().receive(max(timeout, -1)) or printed("sweep-worker", "and so on")


def test_who_never_falls_silent_has_a_deadline_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "GRACE", 0.1)

    ending = following.follow(nodes_of(tmp_path, *READY, over=Flood), Limits(0.3, 60))

    assert ending.end is End.OVERDUE
