from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from metta_sandbox.doctor.probe import CommandOutput, Deadline, Probe, ProbeError, SilentError
from metta_sandbox.errors import MachineError


def test_a_probe_gives_what_it_read() -> None:
    assert Probe(Deadline(5), lambda: 7)() == 7


def reason(error: Exception) -> str:
    def read() -> int:
        raise error

    with pytest.raises(ProbeError) as caught:
        Probe(Deadline(5), read)()
    return str(caught.value)


def test_a_probe_that_breaks_gives_the_reason() -> None:
    assert reason(KeyError("SystemTime")) == "KeyError: 'SystemTime'"
    assert reason(ValueError()) == "ValueError"
    assert reason(ProbeError("no image")) == "no image"
    assert reason(MachineError("riscv64 it is\nat all", "a hint")) == "riscv64 it is"


def test_a_probe_that_never_returns_is_not_waited_for() -> None:
    stuck = threading.Event()
    started = time.monotonic()
    with pytest.raises(ProbeError, match=r"^no answer within 0\.1 s$"):
        Probe(Deadline(0.1), stuck.wait)()
    assert time.monotonic() - started < 2
    stuck.set()


def test_a_probe_that_never_returns_does_not_keep_the_program_from_ending() -> None:
    program = (
        "import threading; from metta_sandbox.doctor.machine import known; "
        "from metta_sandbox.doctor.probe import Probe, Deadline; "
        "print(known(Probe(Deadline(0.1), threading.Event().wait), 'no answer'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout == "no answer\n"


def test_a_command_is_asked() -> None:
    said = Deadline(10).ask("sh", "-c", "cat; echo oh >&2; exit 3", given="hello")
    assert said == CommandOutput(3, "hello", "oh\n")
    with pytest.raises(ProbeError, match=r"^cat: oh$"):
        said.checked("cat")


def test_a_command_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    fifo = tmp_path / "held"
    os.mkfifo(fifo)
    held = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    # What it starts holds on to its output, as Docker's plugins do, and to the FIFO while it lives.
    script = f"(echo alive >&3; exec sleep 600) 3> {fifo} & wait"
    with pytest.raises(SilentError, match=r"^sh -c gave no answer within 2\.0 s$"):
        Deadline(30).ask("sh", "-c", script, limit=2)
    os.set_blocking(held, True)
    assert os.read(held, 100) == b"alive\n"
    assert os.read(held, 100) == b""  # returns once nobody holds the other end
    os.close(held)


def test_no_command_outlasts_the_deadline() -> None:
    started = time.monotonic()
    with pytest.raises(SilentError):
        Deadline(0.2).ask("sleep", "600")
    assert time.monotonic() - started < 5


def test_what_a_command_says_is_shown_without_passwords() -> None:
    said = CommandOutput(1, "", "first\nproxyconnect https://bob:hunter2@proxy:80: refused\n")
    assert said.last_line == "proxyconnect https://proxy:80: refused"
    assert CommandOutput(2, "", "").last_line == "exit status 2"


def test_bytes_that_are_no_text_break_nothing() -> None:
    assert Deadline(10).ask("printf", r"\377").out == os.fsdecode(b"\xef\xbf\xbd")
