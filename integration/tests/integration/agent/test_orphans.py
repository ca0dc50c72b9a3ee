"""Whoever is killed, in whatever order, nothing is left running."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.agent.conftest import SmallStack, WaitUntil


#: A trainer that leaves a child in a session of its own, as torch elastic's ranks are.
_TRAINER = """
import signal, subprocess
subprocess.Popen(["sleep", "1000"], start_new_session=True)
print("trains", flush=True)
signal.pause()
"""
#: A launcher that puts its rank into a session of its own, as torch elastic does.
_LAUNCHER = """
import subprocess, sys
sys.exit(subprocess.Popen(sys.argv[1:], start_new_session=True).wait())
"""


class _Scene:
    """A stack in which a rank trains, and its processes by role."""

    def __init__(self, stack: SmallStack, wait_until: WaitUntil) -> None:
        self.hub = stack.hub()
        self.agent = stack.agent("alone")
        self.harness = stack.harness()
        self.harness.wait("registered")
        launcher = [*stack.script(_LAUNCHER), *stack.rank(_TRAINER)]
        self.pids = {
            "relay": self.harness.link._relay.pid,
            "hub": self.hub.pid,
            "agent": self.agent.pid,
            "launcher": self.harness.start("alone", "trial-1", launcher),
            "trainer": self.harness.wait("rank-started")["pid"],
        }
        log = stack.folder / "rank-0.log"
        wait_until(lambda: log.exists() and "trains" in log.read_text(), "the trainer")
        self.pids["wrapper"] = _parent(self.pids["trainer"])


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("victim", ["relay", "hub"])
def test_without_harness_or_hub_all_end(
    stack: SmallStack, wait_until: WaitUntil, victim: str
) -> None:
    scene = _Scene(stack, wait_until)
    os.kill(scene.pids[victim], signal.SIGKILL)
    wait_until(lambda: not stack.alive(), "the end of all")
    assert scene.agent.wait(20) == 0


@pytest.mark.parametrize("victim", ["launcher", "wrapper", "trainer"])
def test_without_one_of_its_processes_the_group_ends(
    stack: SmallStack, wait_until: WaitUntil, victim: str
) -> None:
    scene = _Scene(stack, wait_until)
    os.kill(scene.pids[victim], signal.SIGKILL)
    end = scene.harness.wait("exit")
    assert end["status"] == (-9 if victim == "launcher" else 247)
    assert end["ranks"][0]["status"] == -9
    still = set(stack.alive())
    assert {scene.hub.pid, scene.agent.pid} <= still
    assert len(still) == 3  # and the relay


def test_with_the_agent_its_processes_end(stack: SmallStack, wait_until: WaitUntil) -> None:
    scene = _Scene(stack, wait_until)
    scene.agent.kill()
    scene.harness.wait("lost")
    mine = ["launcher", "wrapper", "trainer"]
    wait_until(lambda: not {scene.pids[role] for role in mine} & set(stack.alive()), "their end")


def test_with_the_agent_a_rank_ends_though_what_is_between_lives_on(
    stack: SmallStack, wait_until: WaitUntil
) -> None:
    stack.hub()
    agent = stack.agent("alone")
    harness = stack.harness()
    harness.wait("registered")
    between = ["setsid", "--wait", "sh", "-c", '"$@"; :', "sh", *stack.rank(_TRAINER)]
    harness.start("alone", "trial-1", ["sh", "-c", '"$@"; :', "sh", *between])
    trainer = harness.wait("rank-started")["pid"]
    agent.kill()
    wait_until(lambda: trainer not in stack.alive(), "the trainer's end")


@pytest.mark.parametrize(
    "order", list(itertools.permutations(["relay", "hub", "agent", "launcher"]))[::8]
)
def test_in_any_order_no_trainer_is_left(
    stack: SmallStack, wait_until: WaitUntil, order: tuple[str, ...]
) -> None:
    scene = _Scene(stack, wait_until)
    for role in order:
        try:
            os.kill(scene.pids[role], signal.SIGKILL)
        except ProcessLookupError:
            continue
    mine = {scene.pids[role] for role in ("launcher", "wrapper", "trainer")}
    wait_until(lambda: not mine & set(stack.alive()), "the trainer's end")


def test_one_without_mark_and_session_ends_with_its_agent(
    stack: SmallStack, wait_until: WaitUntil
) -> None:
    harness = stack.up("alone")
    pipe = stack.folder / "escaped"
    os.mkfifo(pipe)
    stray = f"env -i setsid sh -c 'echo $$ > {pipe}; exec sleep 1000' > /dev/null 2>&1 &"
    harness.start("alone", "sweep", ["sh", "-c", f"{stray} read pid < {pipe}; echo $pid"])
    assert harness.wait("exit")["status"] == 0
    pid = int(harness.lines("sweep")[0])
    os.kill(pid, 0)
    harness.link.close()
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the stray's end")


def test_a_daemon_that_holds_and_floods_the_pipe_does_not_hold_the_end(stack: SmallStack) -> None:
    harness = stack.up("alone")
    pipe = stack.folder / "escaped"
    os.mkfifo(pipe)
    flood = f"env -i setsid sh -c 'echo > {pipe}; exec yes' & read nothing < {pipe}"
    harness.start("alone", "sweep", ["sh", "-c", f"echo said; {flood}; exit 3"])
    assert harness.wait("exit")["status"] == 3
    assert harness.lines("sweep")[0] == "said"
    assert "assert" not in stack.log("alone").lower()


def test_as_first_process_of_a_namespace_it_reaps_orphans(
    stack: SmallStack, wait_until: WaitUntil
) -> None:
    namespace = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    possible = subprocess.run([*namespace, "true"], capture_output=True, check=False)
    if possible.returncode:
        pytest.skip(f"no namespaces here: {possible.stderr.decode().strip()}")
    stack.hub()
    stack.agent("alone", prefix=[*namespace, "--kill-child"])
    harness = stack.harness()
    assert harness.wait("registered")["pid"] == 1
    orphans = "for i in 1 2 3; do (sh -c 'exit 0' & ) ; done; exit 0"
    harness.start("alone", "orphans", ["sh", "-c", orphans])
    harness.wait("exit", group="orphans")

    def states() -> list[str] | None:
        number = len(harness.find("exit"))
        look = "cat /proc/[0-9]*/stat 2>/dev/null"
        harness.start("alone", f"look-{number}", ["sh", "-c", look])
        harness.wait("exit", group=f"look-{number}")
        found = [line.rpartition(")")[2].split()[0] for line in harness.lines(f"look-{number}")]
        return found if "Z" not in found else None

    assert "S" in wait_until(states, "the last zombie")


def test_an_agent_that_is_told_to_end_while_it_looks_for_the_hub_ends(
    stack: SmallStack, wait_until: WaitUntil
) -> None:
    agent = stack.agent("alone", "--patience=1000")
    wait_until(lambda: Path(stack.socket("alone")).exists(), "the agent")
    agent.terminate()
    assert agent.wait(20) == 0


def test_an_agent_that_finds_no_hub_says_so(stack: SmallStack) -> None:
    agent = stack.agent("alone", "--patience=0.2")
    assert agent.wait(20) == 1
    assert "no hub within 0.2 s" in stack.log("alone")


def test_a_hub_that_vanishes_before_registration_ends_the_agent(stack: SmallStack) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(stack.folder / "hub"))
        listener.listen()
        agent = stack.agent("alone", "--", "sleep", "1000")
        listener.settimeout(20)
        listener.accept()[0].close()
        agent.wait(20)
    assert stack.alive() == []


@pytest.mark.parametrize(("program", "status"), [("exit 5", 5), ("kill -9 $$", 137)])
def test_an_agent_ends_as_its_own_command_does(
    stack: SmallStack, program: str, status: int
) -> None:
    stack.hub()
    harness = stack.harness()
    agent = stack.agent("alone", "--", "sh", "-c", program)
    assert agent.wait(20) == status
    harness.wait("exit", group="main")
    assert harness.find("exit") < harness.find("lost") or harness.wait("lost")
