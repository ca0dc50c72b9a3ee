"""Slow readers, floods, comings and goings: nothing lost, nothing grows, nobody waits for ever."""

from __future__ import annotations

import re
import signal
import socket
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from metta_sandbox.errors import StackError
from metta_sandbox.node.agent.wire import encode

if TYPE_CHECKING:
    from tests.integration.agent.conftest import SmallStack, WaitUntil


_EMITTER = """
import os, sys
from metta_sandbox.node.agent.emitter import Emitter
emitter = Emitter.from_environment()
"""
_FLOOD = _EMITTER + "for step in range(8000): emitter.emit('step', padding='x' * 4000)"
_MARK = re.compile(r"\[\.\.\. (\d+) lines of .* not forwarded\]")
#: Bytes that a bounded process may grow by: buffers of a connection, and what Python keeps.
_BOUND = 24 << 20


def _memory(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) << 10


def _is_long(log: Path) -> bool:
    return log.exists() and log.stat().st_size > 9_000_000


def _written(lines: list[str]) -> int:
    """Count the lines that a source must have written for these to be forwarded."""
    marks = [_MARK.fullmatch(line) for line in lines]
    return sum(int(mark[1]) if mark else 1 for mark in marks)


@pytest.fixture
def small_inbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metta_sandbox.stack.link._INBOX", 1 << 20)


@pytest.mark.usefixtures("small_inbox")
def test_a_slow_harness_slows_the_stack_and_loses_nothing(
    stack: SmallStack, wait_until: WaitUntil
) -> None:
    hub = stack.hub()
    agents = [stack.agent(node) for node in ("a", "b")]
    harness = stack.harness()
    for node in ("a", "b"):
        harness.wait("registered", node=node)
    before = {process.pid: _memory(process.pid) for process in (hub, *agents)}
    lines = "import sys; [sys.stdout.write(f'{n} {\"x\" * 90}\\n') for n in range(100_000)]"
    for node in ("a", "b"):
        harness.start(node, "events", stack.script(_FLOOD.replace("sys.stdout", "None")))
        harness.start(node, "trial-1", stack.rank(lines), RANK="0" if node == "a" else "1")
    # Nobody receives, and still requests are answered, to the end of what bounds allow.
    for rank in ("0", "1"):
        log = stack.folder / f"rank-{rank}.log"
        wait_until(partial(_is_long, log), "the lines")
    for node in ("a", "b"):
        harness.link.request(node, "groups")
    for pid, size in before.items():
        assert _memory(pid) - size < _BOUND
    for node in ("a", "b"):
        harness.wait("exit", node=node, group="events")
        harness.wait("exit", node=node, group="trial-1")
        events = harness.find("event", node=node)
        assert [harness.messages[place]["record"]["seq"] for place in events] == list(
            range(1, 8001)
        )
    for rank in ("0", "1"):
        assert _written(harness.lines(f"rank-{rank}")) == 100_000


def test_a_client_that_never_reads_costs_no_memory_and_stops_nobody_else(
    stack: SmallStack, wait_until: WaitUntil
) -> None:
    stack.hub()
    agent = stack.agent("alone")
    harness = stack.harness()
    harness.wait("registered")
    before = _memory(agent.pid)
    flood = _FLOOD.replace("8000", "10**9").replace("sys.stdout", "None")
    args = {"group": "trial-1", "command": stack.script(flood), "env": {}}
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(stack.socket("alone"))
        client.sendall(encode({"type": "request", "id": 1, "verb": "start", "args": args}))
        harness.wait("event", event="step")
        # Its emitter comes to a halt, as the harness sees.
        wait_until(lambda: harness.take() is None and harness.take() is None, "the halt")
        assert _memory(agent.pid) - before < _BOUND
        script = stack.script(_EMITTER + "emitter.emit('fine')")
        harness.start("alone", "sweep", script)
        harness.wait("event", event="fine")
    harness.wait("exit", group="trial-1")


def test_lines_that_can_t_be_text_come_through_in_one_piece(stack: SmallStack) -> None:
    harness = stack.up("alone")
    junk = """
import os
os.write(1, os.urandom(3_000_000).replace(b"\\n", b"?") + b"\\n")
os.write(1, b"".join(b"\\xff" * 4000 + b"\\n" for _ in range(2000)))
os.write(1, b'{"event": "x", "pid": [1], "seq": 1}\\n{"event":' + b"[" * 9000 + b"\\n")
os.write(1, b"no end")
"""
    harness.start("alone", "trial-1", stack.rank(junk))
    assert harness.wait("exit")["status"] == 0
    lines = harness.lines("rank-0")
    assert not harness.find("lost")
    assert _written(lines) == 2004
    assert lines[0].endswith(" [... 2991808 bytes not forwarded]")
    assert lines[-1] == "no end"
    assert (stack.folder / "rank-0.log").stat().st_size > 3_000_000 + 2000 * 4001


def test_a_hundred_thousand_lines_a_second_are_written_as_fast_as_to_a_file(
    stack: SmallStack,
) -> None:
    # Prints at that pace for a second, and then how long it took over all.
    paced = """
import sys, time
began = time.monotonic()
for tick in range(100):
    for number in range(1000):
        sys.stdout.write(f"step {tick} {number} loss 0.123456\\n")
    sys.stdout.flush()
    ahead = began + (tick + 1) / 100 - time.monotonic()
    if ahead > 0:
        time.sleep(ahead)
open(sys.argv[1], "w").write(str(time.monotonic() - began))
"""
    harness = stack.up("alone")
    took = stack.folder / "took"
    best = 10.0
    for attempt in range(3):
        harness.start("alone", f"trial-{attempt}", [*stack.rank(paced), str(took)])
        harness.wait("exit", group=f"trial-{attempt}")
        best = min(best, float(took.read_text()))
        if best < 1.05:
            break
    assert best < 1.05
    log = (stack.folder / "rank-0.log").read_text().splitlines()
    assert len(log) == 100_000 * (attempt + 1)
    assert _written(harness.lines("rank-0")) == len(log)


def test_a_second_harness_is_refused_and_the_first_stays(stack: SmallStack) -> None:
    first = stack.up("alone")
    second = stack.harness()
    assert second.wait("gone")["reason"] == "another harness is connected"
    with pytest.raises(StackError, match="the connection to the stack is gone"):
        second.link.request("alone", "groups")
    assert first.link.request("alone", "groups") == []


def test_a_hub_without_a_harness_ends_and_its_agents_with_it(
    stack: SmallStack, any_python: str
) -> None:
    stack.python = [any_python]
    # It must have come before the hub has waited long enough.
    agent = stack.agent("alone", "--", "sleep", "1000")
    hub = stack.hub("--patience=3")
    assert hub.wait(20) == 0
    assert agent.wait(20) in {0, 143}
    assert stack.alive() == []


def test_a_hub_that_is_told_to_end_ends(stack: SmallStack) -> None:
    hub = stack.hub()
    harness = stack.harness()
    agent = stack.agent("alone")
    harness.wait("registered")
    hub.terminate()
    assert hub.wait(20) == 0
    assert agent.wait(20) == 0
    assert "the hub has closed the connection" in harness.wait("gone")["reason"]


def test_what_agents_say_before_the_harness_comes_is_told_in_order(
    stack: SmallStack, wait_until: WaitUntil
) -> None:
    stack.hub()
    first = stack.agent("alone", "--", "sh", "-c", "echo said; exec sleep 1000")
    wait_until(lambda: "said" in stack.log("alone"), "the first life")
    first.kill()
    first.wait()
    (stack.folder / "alone.log").unlink()
    second = stack.agent("alone", "--", "sh", "-c", "echo again; exec sleep 1000")
    wait_until(lambda: "again" in stack.log("alone"), "the second life")
    harness = stack.harness()
    harness.wait("lines", lines=["again"])
    told = [message["type"] for message in harness.messages]
    assert told == ["registered", "lines", "lost", "registered", "lines"]
    assert harness.messages[3]["pid"] == second.pid


def test_an_agent_that_takes_another_s_place_is_told_as_a_new_one(stack: SmallStack) -> None:
    harness = stack.up("alone")
    pid = harness.messages[0]["pid"]
    stack.run(["sh", "-c", f"kill -STOP {pid}"]).wait()
    twin = stack.agent("alone")
    harness.wait("registered", pid=twin.pid)
    assert [message["type"] for message in harness.messages] == ["registered", "lost", "registered"]
    assert harness.link.request("alone", "groups") == []


def test_a_request_to_an_agent_that_dies_is_answered(stack: SmallStack) -> None:
    harness = stack.up("alone")
    pid = harness.messages[0]["pid"]
    stack.run(["sh", "-c", f"kill -STOP {pid}"]).wait()
    answer = harness.link.ask("alone", "groups")
    stack.run(["sh", "-c", f"kill -KILL {pid}"]).wait()
    assert answer.get(timeout=20)["error"] == "its agent is gone"


def test_a_standing_stack_goes_from_one_harness_to_the_next(stack: SmallStack) -> None:
    stack.hub("--standing")
    nodes = ("a", "b")
    for node in nodes:
        stack.agent(node, "--standing", "--", "sleep", "1000")
    first = stack.harness()
    held = _EMITTER + "emitter.emit('first')"
    stubborn = "trap '' TERM; while :; do sleep 0.1; echo still; done"
    for node in nodes:
        first.wait("registered", node=node)
        first.arm(node, pause={"event": "first"})
        first.start(node, "held", stack.script(held))
        first.start(node, "sweep", ["sh", "-c", stubborn])
        first.wait("event", node=node)
        first.wait("lines", node=node)
    first.link.close()

    second = stack.harness()
    for node in nodes:
        second.wait("registered", node=node)
        # The name is free again as soon as the node answers, and nothing is armed.
        second.start(node, "sweep", stack.script(held))
        second.wait("exit", node=node)
    told = {message["type"] for message in second.messages}
    assert told == {"registered", "event", "exit"}
    assert all(message.get("status", 0) == 0 for message in second.messages)
    for node in nodes:
        groups = second.link.request(node, "groups")
        assert {group["group"]: group["status"] for group in groups if group["status"] is None} == {
            "main": None
        }
    second.link.close()
    third = stack.harness()
    third.wait("registered", node="a")
    third.link.request("a", "stop", group="main", grace=5.0)
    assert third.wait("exit", node="a")["status"] == -signal.SIGTERM
    third.wait("lost", node="a")


def test_what_starts_a_command_is_found_whatever_its_own_path(stack: SmallStack) -> None:
    stack.hub()
    stack.agent("a")
    harness = stack.harness()
    harness.wait("registered", node="a")
    harness.start("a", "run", ["bash", "-c", "echo $PATH; ls"], PATH="/nowhere")
    ended = harness.wait("exit", group="run")
    assert ended["status"] == 127
    said = harness.lines("run")
    assert said[0] == "/nowhere"
    assert "ls: " in said[1]
