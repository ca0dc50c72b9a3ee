"""The process that matches patterns for ``matching``: a pattern can't hang anything but this one.

It runs as a script, and needs the standard library alone.
"""

from __future__ import annotations

import errno
import marshal
import re
import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import IO, Any

#: How messages begin: with the number of bytes that follow.
_LENGTH = 8
#: Bytes of a file that are read at a time.
_BLOCK = 1 << 16
#: Bytes that a line may have.
_LONGEST_LINE = 1 << 26
#: Bytes of memory that this process may have.
_MEMORY = 4 << 30


class _OutOfTime(BaseException):
    """A batch of lines has taken too long."""


def _stop(_number: int, _frame: object) -> None:
    raise _OutOfTime


class _Search:
    """Matches lines against the first pattern, after its first match against the next, and so on.

    Args:
        patterns: Regular expressions; the last one stays.
        whole: Whether a line must match as a whole.
        seconds: How long a batch of lines may take.

    """

    def __init__(self, patterns: list[str], *, whole: bool, seconds: float) -> None:
        self._patterns = patterns
        self._whole = whole
        self._seconds = seconds
        self._looks: list[Any] = []

    def match(self, lines: list[str]) -> tuple[list[tuple[int, str, str | None]], str, int]:
        """Match a batch of lines.

        Returns:
            The matches: each line's index, the line, its first group. Where it got stuck, in words
            and the index of the line; or nothing, and 0.

        """
        found: list[tuple[int, str, str | None]] = []
        index = 0
        # Some loops of re hear no signal: then the kernel ends this process a second later.
        signal.setitimer(signal.ITIMER_VIRTUAL, self._seconds + 1)
        signal.setitimer(signal.ITIMER_REAL, self._seconds)
        try:
            look = self._look()
            for index, line in enumerate(lines):
                if match := look(line):
                    found.append((index, line, match[1] if match.re.groups else None))
                    if len(self._looks) > 1:
                        self._looks.pop()
                        look = self._look()
        except _OutOfTime:
            return found, f"within {self._seconds:.2g} s", index
        except (MemoryError, OverflowError, RecursionError, re.error) as error:
            return found, f"({error!r})", index
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        return found, "", 0

    def _look(self) -> Any:
        if not self._looks:
            compiled = [re.compile(pattern) for pattern in reversed(self._patterns)]
            self._looks = [each.fullmatch if self._whole else each.search for each in compiled]
        return self._looks[-1]


def blocks(file: IO[bytes]) -> Iterator[list[str]]:
    """Read a file's lines, a batch at a time; what is no UTF-8 is written as escapes.

    Raises:
        OSError: It can't be read, or a line does not end.

    """
    begun: list[bytes] = []
    while data := file.read(_BLOCK):
        whole, end, rest = data.rpartition(b"\n")
        if end:
            yield _lines(b"".join([*begun, whole]))
            begun = []
        if rest:
            begun.append(rest)
        if len(begun) * _BLOCK > _LONGEST_LINE:
            raise OSError(errno.EFBIG, f"a line has more than {_LONGEST_LINE} bytes")
    if begun:
        yield _lines(b"".join(begun))


def _lines(block: bytes) -> list[str]:
    return block.decode("utf-8", "backslashreplace").split("\n")


def send(to: socket.socket, message: Any, file: int | None = None) -> None:
    """Send a message, and a file with it."""
    data = marshal.dumps(message)
    length = len(data).to_bytes(_LENGTH, "little")
    if file is None:
        to.sendall(length)
    else:
        socket.send_fds(to, [length], [file])
    to.sendall(data)


def receive(of: socket.socket) -> tuple[Any, list[int]]:
    """Take a message, and the files that came with it.

    Raises:
        EOFError: None comes any more.

    """
    length, files, *_ = socket.recv_fds(of, _LENGTH, 1)
    left, parts = int.from_bytes(length, "little"), []
    while left:
        part = of.recv(left)
        if not part:
            break
        parts.append(part)
        left -= len(part)
    if left or not parts:
        raise EOFError
    return marshal.loads(b"".join(parts)), files  # noqa: S302 - from our own process


def _answer(to: socket.socket, request: Any, files: list[int]) -> None:
    """Match what is asked for. Each batch is answered, and an empty one at the end."""
    patterns, whole, seconds, most, text, lines = request
    search = _Search(patterns, whole=whole, seconds=seconds)
    for batch in _batches(files[0], text=text) if files else [lines]:
        found, problem, index = search.match(batch)
        most -= len(found)
        last = bool(problem) or most <= 0
        send(to, (len(batch), found[: len(found) + min(most, 0)], problem, index, last))
        if last:
            return
    send(to, (0, [], "", 0, True))


def _batches(number: int, *, text: bool) -> Iterator[list[str]]:
    """Read a file's lines; as text, each with its end, and those that were written over, too."""
    if text:
        with open(number, encoding="utf-8", errors="backslashreplace") as file:
            yield from iter(partial(file.readlines, _BLOCK), [])
    else:
        with open(number, "rb", buffering=0) as raw:
            yield from blocks(raw)


def _serve() -> None:
    """Answer requests until nobody is there any more."""
    signal.signal(signal.SIGALRM, _stop)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    other = socket.socket(fileno=0)
    with suppress(EOFError, ConnectionError):
        while True:
            _answer(other, *receive(other))


if __name__ == "__main__":
    _serve()
