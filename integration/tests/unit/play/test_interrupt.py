from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from metta_sandbox.errors import StackError
from metta_sandbox.interrupt import HEARD, INTERRUPTED, interruptible, uninterrupted

PROGRAM = """
import os, signal, sys
from metta_sandbox.interrupt import INTERRUPTED, interruptible
try:
    with interruptible():
        exec("os.kill(os.getpid(), signal.SIGINT)")
except KeyboardInterrupt:
    sys.exit(INTERRUPTED)
"""


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in HEARD}
    yield
    assert {number: signal.getsignal(number) for number in HEARD} == before


def hear(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", HEARD)
def test_each_signal_ends_a_run_like_ctrl_c(number: int) -> None:
    with pytest.raises(KeyboardInterrupt), interruptible():
        hear(number)


def test_one_that_came_while_a_class_was_made_does_not_end_the_process_by_a_signal(
    tmp_path: Path,
) -> None:
    # With -m alone CPython looks at what it remembers of an exec.
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "program"]
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == INTERRUPTED


def test_only_the_first_is_raised() -> None:
    with interruptible():
        with suppress(KeyboardInterrupt):
            hear()
        hear()
        hear(signal.SIGTERM)


def test_what_the_caller_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible():
            hear(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_one_that_comes_in_an_uninterrupted_block_is_raised_after_it() -> None:
    done: list[str] = []

    def work() -> None:
        with uninterrupted():
            hear()
            done.append("first")
            hear(signal.SIGTERM)
            done.append("second")
        done.append("after")

    with pytest.raises(KeyboardInterrupt), interruptible():
        work()
    assert done == ["first", "second"]


def test_one_that_comes_before_an_error_counts_more_than_the_error() -> None:
    # Ctrl-C at a terminal also ends the program that is waited for.
    def fail() -> None:
        hear()
        raise StackError("Compose was interrupted")

    with pytest.raises(KeyboardInterrupt), interruptible(), uninterrupted():
        fail()


def test_an_error_without_one_is_raised_as_it_is() -> None:
    with pytest.raises(StackError, match="broken"), interruptible(), uninterrupted():
        raise StackError("broken")


def test_after_the_first_an_uninterrupted_block_raises_none() -> None:
    with interruptible():
        with suppress(KeyboardInterrupt):
            hear()
        with uninterrupted():
            hear()


def test_what_comes_when_all_is_said_does_not_change_the_status() -> None:
    script = (
        "import os, signal, sys; from metta_sandbox.cli import main; sys.argv[1:] = ['--help']\n"
        "try: main()\n"
        "finally: os.kill(os.getpid(), signal.SIGINT)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_one_that_a_library_made_an_exception_of_its_own_ends_without_a_traceback() -> None:
    """As pydantic does where a signal comes while it builds a class."""
    program = """
import os, signal
from metta_sandbox import cli
def app():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except SystemExit as error:
        raise ValueError("SchemaError: SystemExit: 130") from error
cli.app = app
cli.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, "")
