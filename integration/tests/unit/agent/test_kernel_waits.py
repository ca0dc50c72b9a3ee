"""What threads of real processes wait for, as the kernel tells it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metta_sandbox.autopsy.seen import Wait
from metta_sandbox.node.agent import kernel

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

_PATIENCE = 20.0
_HEAD = "import os, select, socket, subprocess, sys, threading, time\nprint('here', flush=True)\n"


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    running: list[subprocess.Popen[str]] = []
    yield running
    for each in running:
        each.kill()
        each.communicate()


def waiting(started: list[subprocess.Popen[str]], script: str, call: str) -> tuple[int, Wait]:
    """Run a script until its main thread is in a system call."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HEAD + script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    started.append(process)
    deadline = time.monotonic() + _PATIENCE
    told: Any = None
    while time.monotonic() < deadline:
        told = kernel.Waiting(process.pid, platform.machine()).of(process.pid)
        if told and told["call"] == call and told["target"] != "/":
            return process.pid, Wait.model_validate(told)
        time.sleep(0.01)
    raise AssertionError(told)


def opened(pid: int, number: int | None) -> str:
    return str(Path(f"/proc/{pid}/fd/{number}").readlink())


def test_a_read_of_standard_input_leads_to_its_pipe(started: list[subprocess.Popen[str]]) -> None:
    pid, wait = waiting(started, "sys.stdin.readline()", "read")
    assert (wait.kind, wait.fd, wait.target) == ("read", 0, opened(pid, 0))
    assert {"number": 0, "target": wait.target, "writes": False} in kernel.held(pid)


def test_a_socket_that_may_time_out_is_polled(started: list[subprocess.Popen[str]]) -> None:
    script = "a, b = socket.socketpair(); a.settimeout(100); a.recv(1)"
    pid, wait = waiting(started, script, "poll")
    assert (wait.kind, wait.targets) == ("poll", (opened(pid, wait.fd),))


@pytest.mark.parametrize("script", ["time.sleep(60)", "select.select([], [], [], 60)"])
def test_who_waits_for_no_descriptor_sleeps(
    started: list[subprocess.Popen[str]], script: str
) -> None:
    _, wait = waiting(started, script, "sleep")
    assert (wait.kind, wait.targets) == ("sleep", ())


def test_selected_descriptors_are_all_told(started: list[subprocess.Popen[str]]) -> None:
    pid, wait = waiting(started, "r, w = os.pipe(); select.select([0, r], [], [])", "select")
    assert wait.fd == 0
    assert wait.targets == tuple(opened(pid, number) for number in (0, 3))


def test_an_epoll_leads_to_what_it_watches(started: list[subprocess.Popen[str]]) -> None:
    pid, wait = waiting(started, "e = select.epoll(); e.register(0); e.poll()", "epoll")
    assert wait.target == opened(pid, 0)


def test_a_wait_names_the_child(started: list[subprocess.Popen[str]]) -> None:
    pid, wait = waiting(started, "subprocess.Popen(['sleep', '60']).wait()", "wait4")
    assert wait.kind == "wait"
    assert kernel.fields(f"/proc/{wait.target}/stat")[kernel.PARENT] == str(pid)
    os.kill(int(wait.target), 9)


def test_a_lock_of_a_file_is_named(started: list[subprocess.Popen[str]], tmp_path: Path) -> None:
    file = tmp_path / "lock"
    script = f"import fcntl; file = open({str(file)!r}, 'w'); fcntl.flock(file, fcntl.LOCK_EX);"
    holder, _ = waiting(started, f"{script} time.sleep(60)", "sleep")
    pid, wait = waiting(started, script, "flock")
    assert wait.target == str(file)
    assert kernel.locks([pid, holder]) == {pid: [str(file)]}
    assert str(file) in {each["target"] for each in kernel.held(holder)}


def test_a_pipe_that_nobody_opens_is_named(
    started: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    _, wait = waiting(started, f"open({str(tmp_path / 'fifo')!r})", "open")
    assert wait.target == str(tmp_path / "fifo")


def test_a_lock_of_threads_and_a_semaphore_of_processes_are_futexes(
    started: list[subprocess.Popen[str]],
) -> None:
    _, wait = waiting(started, "lock = threading.Lock(); lock.acquire(); lock.acquire()", "futex")
    assert (wait.kind, wait.target) == ("futex", "")
    script = "from multiprocessing import Lock; lock = Lock(); lock.acquire(); lock.acquire()"
    _, wait = waiting(started, script, "futex")
    assert wait.target.startswith("/dev/shm/")


def test_only_what_launchers_tell_is_taken_of_an_environment(
    started: list[subprocess.Popen[str]],
) -> None:
    process = subprocess.Popen(
        ["sleep", "60"], env={"RANK": "3", "SECRET": "x", "MASTER_PORT": "1=2"}, text=True
    )
    started.append(process)
    # The kernel shows none for a moment, between a program's start and its first line.
    deadline = time.monotonic() + _PATIENCE
    while not (told := kernel.environ(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert told == {"RANK": "3", "MASTER_PORT": "1=2"}
    assert 0 <= kernel.age(kernel.fields(f"/proc/{process.pid}/stat")) < _PATIENCE


def test_who_is_gone_tells_nothing() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert kernel.environ(gone.pid) == {}
    assert kernel.held(gone.pid) == []
    assert kernel.used(gone.pid, gone.pid) == 0
    assert kernel.Waiting(gone.pid, platform.machine()).of(gone.pid) is None
