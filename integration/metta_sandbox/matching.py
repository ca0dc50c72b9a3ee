"""Patterns of scenario files, matched in bounded time.

Over some patterns Python's ``re`` takes longer than anybody lives, and nothing else of its process
runs meanwhile. So they are matched in a process beside this one, which ends when its time is over.
"""

from __future__ import annotations

import select
import subprocess
import sys
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, TypeAlias

from metta_sandbox import matching_process
from metta_sandbox.errors import SandboxError
from metta_sandbox.matching_process import lines_of

#: Seconds that a batch of lines gets, which takes some hundredths of one.
_PATIENCE = 5.0
#: Seconds that all batches of a file get together.
_ALL = 100.0
#: Seconds more, until a process is killed that does not say itself that its time is over.
_SILENCE = 5.0
#: Bytes that are read at a time.
_BLOCK = 1 << 16

#: Lines, by themselves or as they stand in a file: joined by line ends, with none after the last.
Batch: TypeAlias = list[str] | bytes


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
    """A line that matches.

    Attributes:
        index: The line's, among all that were given.
        line: The line.
        group: What the first group matched; None without groups, or if it took no part.

    """

    index: int
    line: str
    group: str | None


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

    def _new(self) -> _Process:
        process = _Process()
        self._started.append(process)
        return process

    def matches(
        self, patterns: Sequence[str], batches: Iterable[Batch], *, whole: bool = False
    ) -> Iterator[Match]:
        """Give the lines that match the first pattern, after its first match the next, and so on.

        Args:
            patterns: Regular expressions. Once it is its turn, the last one stays, or the only one.
            batches: Lines, as many at a time as fit into memory.
            whole: Whether a line must match from its first to its last character.

        Raises:
            UnmatchedError: A batch, or all of them, took longer than they may.

        """
        process = self._idle.pop() if self._idle else self._new()
        try:
            yield from self._matches(process, list(map(str, patterns)), iter(batches), whole)
        except GeneratorExit:
            self._idle.append(process)
            raise
        except BaseException:
            process.end()
            raise
        self._idle.append(process)

    def _matches(
        self, process: _Process, patterns: list[str], batches: Iterator[Batch], whole: bool
    ) -> Iterator[Match]:
        begin = at = 0
        left = _ALL
        batch = next(batches, None)
        while batch is not None:
            asked, seconds = time.monotonic(), min(left, self._seconds)
            process.ask((patterns, batch, seconds, at, whole))
            # What comes next is read while that is matched.
            following = next(batches, None)
            answer = process.answer(seconds + _SILENCE)
            left -= time.monotonic() - asked
            count = len(batch) if isinstance(batch, list) else batch.count(b"\n") + 1
            found, problem, index = answer or ((), f"within {seconds:.2g} s", 0)
            lines = lines_of(batch) if found else []
            for place, group in found:
                at = min(at + 1, len(patterns) - 1)
                yield Match(begin + place, lines[place], group)
            if problem:
                more = "" if answer or count == 1 else f" or the {count - 1} after it"
                raise UnmatchedError(patterns[at], begin + index, f"this line{more} {problem}")
            begin += count
            if left <= 0:
                what = f"the lines up to this one within {_ALL:g} s"
                raise UnmatchedError(patterns[at], begin - 1, what)
            batch = following


def blocks(file: BinaryIO) -> Iterator[bytes]:
    """Read a file's lines, a batch at a time."""
    begun: list[bytes] = []
    while data := file.read(_BLOCK):
        whole, end, rest = data.rpartition(b"\n")
        if end:
            yield b"".join([*begun, whole])
            begun = []
        if rest:
            begun.append(rest)
    if begun:
        yield b"".join(begun)


class _Process:
    """A process that matches."""

    def __init__(self) -> None:
        # In a session of its own: Ctrl-C at the terminal is for us to hear.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", matching_process.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def ask(self, request: tuple[Any, ...]) -> None:
        """Send a request, which ``answer`` answers."""
        with suppress(BrokenPipeError):
            matching_process.write(self._pipe(self._process.stdin), request)

    def answer(self, patience: float) -> Any:
        """Wait for the answer; None if none comes for ``patience`` seconds."""
        answers = self._pipe(self._process.stdout)
        poll = select.poll()
        poll.register(answers, select.POLLIN)
        if not poll.poll(patience * 1000):
            return None
        try:
            return matching_process.read(answers)
        except EOFError:
            return None

    def end(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(BrokenPipeError):
                self._pipe(pipe).close()

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None
        return pipe


def _end_all(processes: list[_Process]) -> None:
    while processes:
        processes.pop().end()
