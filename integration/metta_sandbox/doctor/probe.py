"""Looking at a machine without waiting for it: every command and every probe has an end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Generic, TypeVar

from metta_sandbox.errors import SandboxError

T = TypeVar("T")
#: Who a URL says it is.
_USER = re.compile(r"(\w://)\S*@")


@dataclass(frozen=True)
class CommandOutput:
    """What a command said, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def last_line(self) -> str:
        """The end of what it said, where the cause of a failure stands; no password in a URL."""
        lines = _USER.sub(r"\1", self.err.strip() or self.out.strip()).splitlines()
        return lines[-1].strip() if lines else f"exit status {self.status}"

    def checked(self, what: str) -> str:
        """Return the command's output.

        Raises:
            ProbeError: It failed; the message is its last line.

        """
        if self.status:
            raise ProbeError(f"{what}: {self.last_line}")
        return self.out


class ProbeError(Exception):
    """A probe could not be made; the message is the reason that the user reads."""


class SilentError(ProbeError):
    """A command did not end in time."""


class Deadline:
    """The moment by which everything has an answer, or none.

    Args:
        seconds: From now.

    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left, never less than a short moment."""
        return max(self._end - time.monotonic(), 0.01)

    def ask(self, *command: str, given: str = "", limit: float = 60.0) -> CommandOutput:
        """Run a command to its end.

        Args:
            command: Program and arguments.
            given: Its standard input.
            limit: Seconds for this command, if that is sooner than the deadline.

        Raises:
            SilentError: It did not end in time; it has been killed, with all that it started.
            OSError: There is no such program.

        """
        patience = min(limit, self.left())
        # Killing only the child would leave us reading from what it has started (Docker's plugins).
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            try:
                out, err = process.communicate(given, timeout=patience)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                words = " ".join(command[:2])
                raise SilentError(f"{words} gave no answer within {patience:.1f} s") from None
        return CommandOutput(process.returncode, out, err)


class Probe(Generic[T]):
    """A reading that is under way, beside others. Call it to get what was read.

    The thread is a daemon: one that never returns keeps neither the report nor the exit waiting.

    Args:
        deadline: Until when anybody waits for it.
        read: Reads. Whatever it raises becomes the reason why nothing is known.

    """

    def __init__(self, deadline: Deadline, read: Callable[[], T]) -> None:
        self._deadline = deadline
        self._read = read
        self._found: Future[T] = Future()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            self._found.set_result(self._read())
        except Exception as error:  # noqa: BLE001 - a probe that breaks is a line, not a traceback
            self._found.set_exception(_as_probe_error(error))

    def __call__(self) -> T:
        """Wait for the reading, and return it.

        Raises:
            ProbeError: It could not be read, or not by the deadline; the message is the reason.

        """
        try:
            return self._found.result(self._deadline.left())
        except FutureTimeoutError:
            raise ProbeError(f"no answer within {self._deadline.seconds:g} s") from None


def _as_probe_error(error: Exception) -> ProbeError:
    if isinstance(error, ProbeError):
        return error
    words = str(error).strip().splitlines()
    if isinstance(error, SandboxError) and words:
        return ProbeError(words[0])
    name = type(error).__name__
    return ProbeError(f"{name}: {words[0]}" if words else name)
