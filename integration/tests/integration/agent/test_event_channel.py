"""Events from real processes: none lost, doubled or out of order, and held when armed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.agent.conftest import SmallStack, WaitUntil


_EMITTER = """
import json, os, sys, time
from metta_sandbox.node.agent.emitter import Emitter
emitter = Emitter.from_environment()
"""
#: Emits ``first``, leaves a file to show that it got on, and emits ``last``.
_TWO = (
    _EMITTER
    + """
emitter.emit("first", step=20)
open(os.environ["FILE"], "w").close()
emitter.emit("last")
"""
)


def test_one_armed_before_the_emitter_connects_holds_it_until_released(
    stack: SmallStack, wait_until: WaitUntil
) -> None:
    harness = stack.up("alone")
    file = stack.folder / "got-on"
    harness.arm("alone", pause={"event": "first", "step": 20}, other={"event": "last"})
    harness.start("alone", "sweep", stack.script(_TWO), FILE=str(file))
    assert harness.wait("event", event="first")["held"] == ["pause"]
    # What it could have done meanwhile would be seen after a round trip.
    harness.link.request("alone", "groups")
    assert not file.exists()
    harness.arm("alone", other={"event": "last"})
    wait_until(file.exists, "the released process")
    assert harness.wait("event", event="last")["held"] == ["other"]
    assert not harness.find("exit")
    harness.arm("alone")
    assert harness.wait("exit")["status"] == 0


def test_one_armed_for_another_step_or_rank_holds_nobody(stack: SmallStack) -> None:
    harness = stack.up("alone")
    harness.arm("alone", a={"event": "first", "step": 21}, b={"event": "first", "rank": 1})
    harness.start("alone", "sweep", stack.script(_TWO), FILE=str(stack.folder / "x"), RANK="0")
    assert harness.wait("exit")["status"] == 0
    assert harness.messages[harness.find("event", event="first")[0]]["held"] == []


def test_once_arming_is_answered_the_next_event_of_a_running_emitter_is_held(
    stack: SmallStack,
) -> None:
    harness = stack.up("alone")
    steps = "for step in range(10**9): emitter.emit('step', step=step)"
    harness.start("alone", "sweep", stack.script(_EMITTER + steps))
    harness.wait("event", event="step")
    harness.arm("alone", pause={"event": "step"})
    # The reply is in order with events: at most one event was on its way past the arming.
    held = harness.wait("event", held=["pause"])["record"]["step"]
    harness.link.request("alone", "groups")
    while harness.take():
        pass
    assert harness.messages[harness.find("event")[-1]]["record"]["step"] == held
    harness.arm("alone")
    harness.wait("event", step=held + 1)
    harness.link.request("alone", "stop", group="sweep")


def test_arms_can_move_on_without_letting_an_event_through(stack: SmallStack) -> None:
    """Releasing one and arming the next is one request, so the next event is held again."""
    harness = stack.up("alone")
    harness.arm("alone", n0={"event": "step"})
    steps = "for step in range(5): emitter.emit('step', step=step)"
    harness.start("alone", "sweep", stack.script(_EMITTER + steps))
    for step in range(5):
        assert harness.wait("event", step=step)["held"] == [f"n{step}"]
        harness.arm("alone", **{f"n{step + 1}": {"event": "step"}})
    assert harness.wait("exit")["status"] == 0


def test_a_held_process_goes_on_when_its_agent_dies(
    stack: SmallStack, wait_until: WaitUntil
) -> None:
    stack.hub()
    agent = stack.agent("alone")
    harness = stack.harness()
    harness.wait("registered")
    harness.arm("alone", pause={"event": "first"})
    file = stack.folder / "got-on"
    where = {"METTA_EVENTS": stack.socket("alone"), "FILE": str(file)}
    # Not a child of the agent's, which would die with it.
    process = stack.run(stack.script(_TWO), env=stack.environment(**where), stdout=-3)
    harness.wait("event", event="first")
    agent.kill()
    wait_until(file.exists, "the process whose agent died")
    assert process.wait(20) == 0


def test_a_forked_child_is_an_emitter_of_its_own(stack: SmallStack) -> None:
    harness = stack.up("alone")
    harness.arm("alone", child={"event": "in child"}, parent={"event": "in parent"})
    fork = """
emitter.emit("before")
pid = os.fork()
emitter.emit("in parent" if pid else "in child", of=os.getpid())
emitter.emit("after", of=os.getpid())
if not pid:
    os._exit(0)
os.waitpid(pid, 0)
"""
    harness.start("alone", "sweep", stack.script(_EMITTER + fork))
    parent = harness.wait("event", event="in parent")["record"]
    child = harness.wait("event", event="in child")["record"]
    assert (parent["pid"], parent["seq"]) == (parent["of"], 2)
    assert (child["pid"], child["seq"]) == (child["of"], 1)
    harness.arm("alone", parent={"event": "in parent"})
    harness.wait("event", event="after", of=child["pid"], seq=2)
    assert not harness.find("event", event="after", of=parent["pid"])
    harness.arm("alone")
    assert harness.wait("exit")["status"] == 0
    assert harness.find("event", event="after", of=parent["pid"], seq=3)


def test_threads_share_an_emitter_and_nothing_is_lost(stack: SmallStack) -> None:
    harness = stack.up("alone")
    threads = """
from threading import Thread
def work(number):
    for step in range(100):
        emitter.emit("step", thread=number, step=step, padding="x" * 5000)
workers = [Thread(target=work, args=(number,)) for number in range(8)]
[worker.start() for worker in workers]
[worker.join() for worker in workers]
"""
    harness.start("alone", "sweep", stack.script(_EMITTER + threads))
    assert harness.wait("exit")["status"] == 0
    events = [harness.messages[place]["record"] for place in harness.find("event")]
    assert [event["seq"] for event in events] == list(range(1, 801))
    for number in range(8):
        assert [e["step"] for e in events if e["thread"] == number] == list(range(100))


def test_a_signal_handler_may_emit_while_its_process_is_held(stack: SmallStack) -> None:
    harness = stack.up("alone")
    harness.arm("alone", pause={"event": "step"}, quit={"event": "interrupted"})
    handler = """
import signal
signal.signal(signal.SIGTERM, lambda *_: emitter.emit("interrupted"))
emitter.emit("step")
emitter.emit("last")
"""
    harness.start("alone", "sweep", stack.script(_EMITTER + handler))
    harness.wait("event", event="step")
    harness.link.request("alone", "signal", group="sweep", signal=int(signal.SIGTERM))
    assert harness.wait("event", event="interrupted")["held"] == ["quit"]
    # Both are released by one message, which the handler takes in.
    harness.arm("alone")
    assert harness.wait("exit")["status"] == 0
    assert harness.find("event", event="last")


def test_threads_emit_while_one_of_them_is_held(stack: SmallStack) -> None:
    harness = stack.up("alone")
    harness.arm("alone", kill={"event": "held"})
    threads = """
from threading import Thread
held = Thread(target=emitter.emit, args=("held",))
held.start()
time.sleep(0.5)
[emitter.emit("free", step=step) for step in (1, 2)]
held.join()
"""
    harness.start("alone", "sweep", stack.script(_EMITTER + threads))
    assert harness.wait("event", event="free", step=2)["held"] == []
    assert harness.messages[harness.find("event", event="held")[0]]["held"] == ["kill"]
    assert not harness.find("exit")
    harness.arm("alone")
    assert harness.wait("exit")["status"] == 0


@pytest.mark.parametrize("channel", [True, False])
def test_a_mirrored_event_comes_once_with_and_without_a_channel(
    stack: SmallStack, channel: bool
) -> None:
    harness = stack.up("alone")
    closed = "" if channel else "emitter.close()\n"
    emit = closed + "for step in range(50): emitter.emit('step', step=step)\nprint('said')"
    harness.start("alone", "trial-1", stack.rank(_EMITTER + emit))
    harness.wait("exit")
    steps = [harness.messages[place]["record"]["step"] for place in harness.find("event")]
    assert steps == list(range(50))
    assert harness.lines("rank-0") == ["said"]


def test_what_a_broken_channel_has_not_told_comes_from_the_mirror(stack: SmallStack) -> None:
    harness = stack.up("alone")
    emit = """
emitter.emit("step", step=0)
emitter._socket.sendall(b"nonsense\\n")
for step in range(1, 50):
    emitter.emit("step", step=step)
"""
    harness.start("alone", "trial-1", stack.rank(_EMITTER + emit))
    assert harness.wait("exit")["status"] == 0
    steps = [harness.messages[place]["record"]["step"] for place in harness.find("event")]
    assert sorted(steps) == list(range(50))


def test_events_come_before_the_end_of_who_emitted_them(stack: SmallStack) -> None:
    harness = stack.up("alone")
    many = "for step in range(300): emitter.emit('step', padding='x' * 20_000)"
    harness.start("alone", "trial-1", ["sh", "-c", 'exec "$@"', "sh", *stack.rank(_EMITTER + many)])
    harness.wait("exit")
    last = harness.find("event", seq=300)
    assert len(harness.find("event")) == 300
    assert last < harness.find("rank-exited") < harness.find("exit")


def test_nonsense_on_the_node_s_socket_hurts_only_who_speaks_it(stack: SmallStack) -> None:
    harness = stack.up("alone")
    junk = [b"\xff\xfe\n", b"[1]\n", b"{}\n", b'{"type":"hello"}\n', b'{"type":"event"}\n']
    junk += [b'{"type":"event","record":5}\n', b"[" * 100_000 + b"\n", b"x" * (5 << 20)]
    for words in junk:
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(20)
            channel.connect(stack.socket("alone"))
            try:
                channel.sendall(words)
                assert channel.recv(1) == b""
            except ConnectionError:
                pass
    harness.start("alone", "sweep", stack.script(_EMITTER + "emitter.emit('fine')"))
    harness.wait("event", event="fine")


def test_every_request_is_answered_also_a_bad_one(stack: SmallStack) -> None:
    harness = stack.up("alone")
    link = harness.link
    bad: list[tuple[Any, dict[str, Any]]] = [
        ("start", {"group": "a", "command": [], "env": {}}),
        ("start", {"group": "a", "command": ["/nowhere"], "env": {}}),
        ("start", {"group": "a", "command": ["true"], "env": {"A": 1}}),
        ("start", {"group": "a", "command": ["true"], "env": {}, "log": "/nowhere/log"}),
        ("start", {}),
        ("signal", {"group": "a", "signal": 15}),
        ("arm", {"arms": [1]}),
        ("dance", {}),
    ]
    for verb, args in bad:
        answer = link.ask("alone", verb, **args).get(timeout=20)
        assert not answer["ok"], (verb, args)
    answer = link.ask("nobody", "groups").get(timeout=20)
    assert answer["error"] == "no agent of node nobody is connected"


def _escape(stack: SmallStack, command: str) -> str:
    """Write a shell command that returns once another is in a session, with nothing of ours."""
    pipe = stack.folder / "escaped"
    os.mkfifo(pipe)
    return f"env -i setsid sh -c 'echo $$ > {pipe}; exec {command}' & read pid < {pipe}"


def test_a_name_is_free_again_only_when_all_of_its_output_was_told(stack: SmallStack) -> None:
    harness = stack.up("alone")
    # The leader has ended; what escaped still holds the pipe.
    harness.start("alone", "sweep", ["sh", "-c", f"{_escape(stack, 'sleep 30')}; echo said"])
    while harness.link.request("alone", "groups")[0]["status"] is None:
        pass
    again = harness.link.ask("alone", "start", group="sweep", command=["true"], env={})
    assert "is running" in again.get(timeout=20)["error"]
    assert harness.wait("exit")["status"] == 0
    assert harness.lines("sweep") == ["said"]
    harness.start("alone", "sweep", ["true"])


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(disk)]
    if subprocess.run(words, check=False, capture_output=True).returncode:
        pytest.skip("whoever runs this may not mount a disk")
    try:
        (disk / "filler").write_bytes(bytes(4096))
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_ends_a_log_and_not_its_group(stack: SmallStack, full_disk: Path) -> None:
    harness = stack.up("alone")
    words = ["sh", "-c", "echo one; echo two; exit 4"]
    log = str(full_disk / "a.log")
    harness.link.request("alone", "start", group="a", command=words, env={}, log=log)
    assert harness.wait("exit")["status"] == 4
    assert harness.lines("a") == ["one", "two"]
    assert "the log of a ends here" in stack.log("alone")


def test_leaving_clients_take_their_groups_with_them(stack: SmallStack) -> None:
    harness = stack.up("alone")
    client = """
import os, sys
from metta_sandbox.node.agent.client import AgentClient
client = AgentClient(os.environ["METTA_EVENTS"])
client.start("trial-1", ["sleep", "100"], {})
client.close()
print("left", flush=True)
import signal; signal.pause()
"""
    harness.start("alone", "sweep", stack.script(client))
    assert harness.wait("exit", group="trial-1")["status"] == -signal.SIGTERM
    assert not harness.find("exit", group="sweep")
    assert Path(stack.socket("alone")).exists()
