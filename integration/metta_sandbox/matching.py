"""Patterns of scenario files, matched in bounded time.

Over some patterns Python's ``re`` takes longer than anybody lives, and nothing else of its process
runs meanwhile. So they are matched in a process beside this one, which ends when its time is over.
"""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from metta_sandbox import matching_process
from metta_sandbox.errors import SandboxError

#: Seconds that a batch of lines gets, which takes some hundredths of one.
_PATIENCE = 5.0
#: Seconds that all batches of a file get together.
_ALL = 100.0
#: Seconds more, until a process is killed that does not say itself that its time is over.
_SILENCE = 5.0


class UnmatchedError(SandboxError):
    """A pattern could not be matched in the time, or memory, that there is for it.

    Args:
        pattern: Which.
        index: Of the line, among all that were given, at which it got stuck.
        what: What it could not be matched against, in words.

    Attributes:
        where: The line's place in the artifacts, if whoever gave the lines says so.

    """

    where = ""

    def __init__(self, pattern: str, index: int, what: str) -> None:
        super().__init__(
            f"the pattern '{pattern}' could not be matched against {what}",
            "write it so that there is one way only to match a text: of repetitions inside "
            "others, as in (a+)+, or side by side, as in .*.*, leave one",
        )
        self.index = index


@dataclass(frozen=True)
class Match:
    """A line that matches a pattern.

    Attributes:
        index: The line's, among all that were given.
        line: The line.
        group: What the first group matched; None without groups, or if it took no part.

    """

    index: int
    line: str
    group: str | None


@dataclass(frozen=True)
class Batch:
    """Lines that were matched together.

    Attributes:
        count: How many they are.
        matches: Those that match.

    """

    count: int
    matches: tuple[Match, ...]


class Matcher:
    """Matches patterns; starts a process for it when first asked.

    Args:
        seconds: How long a batch of lines may take.

    """

    def __init__(self, seconds: float = _PATIENCE) -> None:
        self._seconds = seconds
        self._started: list[_Process] = []
        self._idle: list[_Process] = []
        weakref.finalize(self, _end_all, self._started)

    def start(self) -> None:
        """Start the process already, so that the first batch need not wait for it."""
        self._idle.append(self._new())

    def close(self) -> None:
        """End what was started, also what others still wait for. Asked again, it starts anew."""
        self._idle.clear()
        _end_all(self._started)

    def matches(
        self,
        patterns: Sequence[str],
        lines: Sequence[str] | IO[bytes],
        *,
        most: int = sys.maxsize,
        whole: bool = False,
        text: bool = False,
    ) -> Iterator[Match]:
        """Give the lines that match; see ``batches``."""
        found = self.batches(patterns, lines, most=most, whole=whole, text=text)
        return (match for batch in found for match in batch.matches)

    def batches(
        self,
        patterns: Sequence[str],
        lines: Sequence[str] | IO[bytes],
        *,
        most: int = sys.maxsize,
        whole: bool = False,
        text: bool = False,
    ) -> Iterator[Batch]:
        """Find the lines that match the first pattern, after its first match the next, and so on.

        Args:
            patterns: Regular expressions. Once it is its turn, the last one stays, or the only one.
            lines: The lines, or a file of them.
            most: How many matches are looked for.
            whole: Whether a line must match from its first to its last character.
            text: Whether a file's lines have their ends, and a carriage return is one, too.

        Raises:
            UnmatchedError: A batch, or all of them, took longer than they may.

        """
        asked = [str(pattern) for pattern in patterns]
        file = None if isinstance(lines, Sequence) else lines.fileno()
        given = list(lines) if isinstance(lines, Sequence) else []
        process = self._idle.pop() if self._idle else self._new()
        try:
            process.ask((asked, whole, self._seconds, most, text, given), file)
            yield from self._answers(process, asked)
        finally:
            if process.busy:
                self._end(process)
            else:
                self._idle.append(process)

    def _answers(self, process: _Process, patterns: list[str]) -> Iterator[Batch]:
        began, begin, at = time.monotonic(), 0, 0
        while (answer := process.answer(self._seconds + _SILENCE)) is not None:
            count, found, problem, index, last = answer
            at = min(at + len(found), len(patterns) - 1)
            yield Batch(count, tuple(Match(begin + place, *match) for place, *match in found))
            if problem:
                raise UnmatchedError(patterns[at], begin + index, f"this line {problem}")
            if last:
                return
            begin += count
            if time.monotonic() - began > _ALL:
                what = f"the lines up to this one within {_ALL:g} s"
                raise UnmatchedError(patterns[at], begin - 1, what)
        what = f"this line, or some after it, within {self._seconds:.2g} s"
        raise UnmatchedError(patterns[at], begin, what)

    def _end(self, process: _Process) -> None:
        with suppress(ValueError):  # somebody has closed us
            self._started.remove(process)
        process.end()

    def _new(self) -> _Process:
        process = _Process()
        self._started.append(process)
        return process


class _Process:
    """A process beside this one that matches patterns.

    Attributes:
        busy: Whether more answers are to come.

    """

    def __init__(self) -> None:
        self._socket, its = socket.socketpair()
        # In a session of its own: Ctrl-C at the terminal is for us to hear.
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", matching_process.__file__],
                stdin=its.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.busy = False

    def ask(self, request: tuple[Any, ...], file: int | None) -> None:
        """Send a request, which ``answer`` answers."""
        self.busy = True
        with suppress(OSError):  # somebody has ended it just now
            matching_process.send(self._socket, request, file)

    def answer(self, patience: float) -> Any:
        """Wait for the next answer, ``patience`` seconds; None if none comes."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        if poll.poll(patience * 1000):
            with suppress(EOFError, OSError):
                answer, _ = matching_process.receive(self._socket)
                self.busy = not answer[-1]
                return answer
        return None

    def stop(self) -> None:
        """End it, whatever it does; who still waits for an answer hears at once that none comes."""
        self._process.kill()
        self._process.wait()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """End the process once nobody waits for an answer any more."""
        self.stop()
        self._socket.close()


def _end_all(processes: list[_Process]) -> None:
    while processes:
        process = processes.pop()
        # A thread that waits for an answer ends it itself: nobody may close what it reads.
        if process.busy:
            process.stop()
        else:
            process.end()
