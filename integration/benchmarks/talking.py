"""Programs beside the benchmark: run to their end, or asked again and again over a pipe."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from benchmarks.contest import UnableError

#: Where the programs are that run in the interpreters of others.
INSIDE = Path(__file__).parent / "inside"
#: Seconds after which work counts as failed, and in which a program gets to tidy up.
_PATIENCE = 600.0
_END = 60.0
_LAST = 12


def environment(**more: str) -> dict[str, str]:
    """Build the environment of every program: the same limits for all."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    beside = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
    return {**kept, "PATH": beside, "OMP_NUM_THREADS": "1", **more}


def call(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    output: Path | None = None,
    well: Collection[int] = (0,),
) -> float:
    """Run a program to its end and return the seconds it took. Ctrl-C lets it tidy up first.

    Args:
        command: What to run.
        cwd: Where.
        output: A file for what it prints.
        well: Exit statuses that are no failure.

    Raises:
        UnableError: It failed; its last words are in the message.

    """
    return calls([command], cwd=cwd, output=output, well=well)


def calls(
    commands: Sequence[Sequence[str | Path]],
    *,
    cwd: Path | None = None,
    output: Path | None = None,
    well: Collection[int] = (0,),
) -> float:
    """Run programs at once; else as ``call``."""
    with tempfile.TemporaryFile("w+b") as said:
        began = time.perf_counter()
        with output.open("wb") if output else nullcontext() as file:
            running = [
                subprocess.Popen(
                    [str(word) for word in command],
                    cwd=cwd,
                    env=environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=file or said,
                    stderr=said,
                    start_new_session=True,
                )
                for command in commands
            ]
            try:
                statuses = [one.wait(timeout=_PATIENCE * len(commands) * 4) for one in running]
            except BaseException:
                _end(running, signal.SIGINT)
                raise
        seconds = time.perf_counter() - began
        if not set(statuses) <= set(well):
            said.seek(0)
            raise UnableError(_last_words(commands[0], said.read()))
    return seconds


@contextmanager
def beside(command: Sequence[str | Path], cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Have a program run meanwhile; one that is still there at the end is interrupted."""
    running = subprocess.Popen(
        [str(word) for word in command],
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield running
    finally:
        _end([running], signal.SIGINT)


def _end(running: Sequence[subprocess.Popen[bytes]], number: signal.Signals) -> None:
    for one in running:
        if one.poll() is None:
            one.send_signal(number)
    deadline = time.monotonic() + _END
    for one in running:
        try:
            one.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            one.kill()
            one.wait()


def _last_words(command: Sequence[str | Path], said: bytes) -> str:
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    shown = " ".join(Path(str(word)).name for word in command[:3])
    return f"{shown} failed: " + " | ".join(lines[-_LAST:])


class Talker:
    """A program that answers each line of JSON with one; see ``inside/answering.py``.

    Args:
        command: Starts it.
        cwd: Where.
        env: Variables beside everybody's.

    Raises:
        UnableError: It does not start.

    """

    def __init__(
        self,
        command: Sequence[str | Path],
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._command = [str(word) for word in command]
        # Open as long as the program is.
        self._said = tempfile.TemporaryFile("w+b")  # noqa: SIM115
        self._process = subprocess.Popen(
            self._command,
            bufsize=0,
            cwd=cwd,
            env=environment(**(env or {})),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            start_new_session=True,
        )
        self._rest = b""
        self._awaited = True
        try:
            self.hear()
        except BaseException:
            self.close()
            raise

    def say(self, **request: Any) -> None:
        """Send the program a request."""
        assert self._process.stdin is not None
        self._awaited = True
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise UnableError(f"{self._words()}: {error}") from None

    def hear(self) -> dict[str, Any]:
        """Wait for the program's answer.

        Raises:
            UnableError: It is an error, or none came.

        """
        assert self._process.stdout is not None
        deadline = time.monotonic() + _PATIENCE
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise UnableError(f"no answer within {_PATIENCE:g} s: {self._words()}")
                data = self._process.stdout.read(65536)
                if not data:
                    raise UnableError(self._words())
                self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        self._awaited = False
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise UnableError(f"{self._words()} | {answer['error']}")
        return answer

    def close(self) -> None:
        """Let the program tidy up and end; what it is at, it need not finish."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        if not self._awaited:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_END)
        _end([self._process], signal.SIGTERM)
        self._process.stdout.close()
        self._said.close()

    def _words(self) -> str:
        self._said.seek(0)
        return _last_words(self._command, self._said.read())


def together(talkers: Sequence[Talker], **request: Any) -> tuple[float, list[dict[str, Any]]]:
    """Send all the same request, and wait for all answers; returns the seconds it took, too."""
    began = time.perf_counter()
    for talker in talkers:
        talker.say(**request)
    answers = [talker.hear() for talker in talkers]
    return time.perf_counter() - began, answers
