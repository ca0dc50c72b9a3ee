"""The rank wrapper against the same command run directly: statuses, signals, output."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.agent.conftest import SmallStack, WaitUntil


_COUNT = """
import os, signal, sys
count = 0
def term(*_):
    global count
    count += 1
    print("TERM", flush=True)
def usr1(*_):
    print("times", count, flush=True)
    os._exit(7)
signal.signal(signal.SIGTERM, term)
signal.signal(signal.SIGUSR1, usr1)
print("ready", flush=True)
while True:
    signal.pause()
"""


def _status(command: Sequence[str], **options: Any) -> int:
    return subprocess.run(
        command, check=False, capture_output=True, timeout=20, **options
    ).returncode


@pytest.mark.parametrize(
    "program",
    [
        "raise SystemExit(0)",
        "raise SystemExit(3)",
        "raise SystemExit(255)",
        "raise RuntimeError",
        *(
            f"from signal import *; signal({number}, SIG_DFL); raise_signal({number})"
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGUSR1)
        ),
        "import os; os.kill(os.getpid(), 9)",
        "import ctypes; ctypes.string_at(0)",
        "import os; os.abort()",
    ],
)
def test_ends_as_the_command_does(stack: SmallStack, program: str) -> None:
    direct = _status(stack.script(program), env=stack.environment())
    assert _status(stack.rank(program), env=stack.environment()) == direct


def test_says_like_a_shell_that_a_command_is_missing_or_no_program(stack: SmallStack) -> None:
    text = stack.folder / "text"
    text.write_text("not a program")
    wrapped = stack.program("rank", f"--log-folder={stack.folder}", "--")
    for command, status in ((str(stack.folder / "nowhere"), 127), (str(text), 126)):
        shell = _status(["sh", "-c", command])
        assert _status([*wrapped, command], env=stack.environment()) == status == shell
    log = (stack.folder / "rank-0.log").read_text()
    assert "nowhere: No such file" in log
    assert "text: Permission denied" in log


@pytest.mark.parametrize("whole_group", [True, False])
def test_a_signal_reaches_the_trainer_once(
    stack: SmallStack, wait_until: WaitUntil, whole_group: bool
) -> None:
    wrapper = stack.run(stack.rank(_COUNT))
    log = stack.folder / "rank-0.log"
    send = os.killpg if whole_group else os.kill
    wait_until(lambda: log.exists() and "ready" in log.read_text(), "the trainer")
    send(wrapper.pid, signal.SIGTERM)
    wait_until(lambda: "TERM" in log.read_text(), "SIGTERM")
    send(wrapper.pid, signal.SIGUSR1)
    assert wrapper.wait(20) == 7
    assert log.read_text().splitlines() == ["ready", "TERM", "times 1"]


def test_what_the_launcher_ignores_the_trainer_ignores(stack: SmallStack) -> None:
    program = """
from signal import *
print(getsignal(SIGHUP) == SIG_IGN, getsignal(SIGTERM) == SIG_DFL)
"""
    assert _status(["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *stack.rank(program)]) == 0
    assert (stack.folder / "rank-0.log").read_text() == "True True\n"


def test_a_trainer_without_an_agent_runs_all_the_same(stack: SmallStack) -> None:
    gone = stack.environment(METTA_EVENTS=str(stack.folder / "nobody"), RANK="3")
    assert _status(stack.rank("print('trained')"), env=gone) == 0
    assert (stack.folder / "rank-3.log").read_text() == "trained\n"


def test_the_group_s_end_tells_every_rank_s(stack: SmallStack) -> None:
    harness = stack.up("alone")
    both = "; ".join(
        f"RANK={rank} LOCAL_RANK={rank} {_shell(stack.rank(text))} & p{rank}=$!"
        for rank, text in enumerate(["raise SystemExit(5)", "import os; os.kill(os.getpid(), 9)"])
    ).replace("$!;", "$!\n")
    harness.start("alone", "trial-1", ["sh", "-c", f"{both}\nwait $p0; wait $p1; exit 9"])
    end = harness.wait("exit", group="trial-1")
    assert end["status"] == 9
    assert {rank["rank"]: rank["status"] for rank in end["ranks"]} == {0: 5, 1: -9}
    for rank, status in {0: 5, 1: -9}.items():
        told = harness.find("rank-exited", rank=rank, status=status)
        assert told
        assert told[0] < harness.find("exit")[0]


def test_a_killed_wrapper_s_rank_is_told_as_killed(
    stack: SmallStack, wait_until: WaitUntil
) -> None:
    harness = stack.up("alone")
    pid = harness.start("alone", "trial-1", stack.rank("import signal; signal.pause()"))
    trainer = harness.wait("rank-started")["pid"]
    os.kill(pid, signal.SIGKILL)
    end = harness.wait("exit")
    assert (end["status"], end["ranks"][0]["status"]) == (-9, -9)
    # The kernel takes its time to end what was killed.
    wait_until(lambda: trainer not in stack.alive(), "the end of what was killed")


def test_a_rank_that_cannot_start_says_why(stack: SmallStack) -> None:
    harness = stack.up("alone")
    words = stack.program("rank", f"--log-folder={stack.folder}", "--", "/nowhere/at/all")
    harness.start("alone", "trial-1", words)
    end = harness.wait("exit")
    assert (end["status"], end["ranks"][0]["status"]) == (127, 127)
    assert harness.lines("rank-0") == ["/nowhere/at/all: No such file or directory"]


def test_a_trainer_that_is_started_again_is_not_forwarded_twice(stack: SmallStack) -> None:
    harness = stack.up("alone")
    (stack.folder / "rank-0.log").write_text("of an earlier trial\n")
    twice = "; ".join([_shell(stack.rank("print('again')"))] * 2)
    harness.start("alone", "trial-1", ["sh", "-c", twice])
    harness.wait("exit")
    assert harness.lines("rank-0") == ["again", "again"]


def test_a_signal_goes_to_one_rank_alone(stack: SmallStack) -> None:
    harness = stack.up("alone")
    pause = "import signal; signal.pause()"
    words = [f"RANK={rank} LOCAL_RANK={rank} {_shell(stack.rank(pause))} &" for rank in (0, 1)]
    harness.start("alone", "trial-1", ["sh", "-c", " ".join([*words, "wait"])])
    for rank in (0, 1):
        harness.wait("rank-started", rank=rank)
    harness.link.request("alone", "signal", group="trial-1", rank=1, signal=int(signal.SIGKILL))
    assert harness.wait("rank-exited")["rank"] == 1
    harness.link.request("alone", "signal", group="trial-1", rank=0, signal=int(signal.SIGTERM))
    assert harness.wait("rank-exited", rank=0)["status"] == -signal.SIGTERM
    harness.wait("exit")


def _shell(command: Sequence[str]) -> str:
    return " ".join("'" + word.replace("'", "'\\''") + "'" for word in command)
