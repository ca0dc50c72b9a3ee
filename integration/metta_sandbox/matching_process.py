"""The process that matches patterns for ``matching``: a pattern can't hang anything but this one.

It runs as a script, and needs the standard library alone.
"""

from __future__ import annotations

import marshal
import re
import resource
import signal
import sys
from contextlib import suppress
from typing import IO, Any

#: How requests and answers begin: with the number of bytes that follow.
LENGTH = 8
#: Bytes of memory that this process may have.
_MEMORY = 4 << 30


class _OutOfTime(BaseException):
    """A request has taken too long."""


def _stop(_number: int, _frame: object) -> None:
    raise _OutOfTime


def lines_of(batch: list[str] | bytes) -> list[str]:
    """Read the lines of a batch; what is no UTF-8 is written as escapes."""
    if isinstance(batch, list):
        return batch
    return batch.decode("utf-8", "backslashreplace").split("\n")


def _answer(
    patterns: list[str], batch: list[str] | bytes, seconds: float, at: int, *, whole: bool
) -> tuple[Any, ...]:
    """Match lines against the first pattern, from its first match on against the next, and so on.

    Args:
        patterns: Regular expressions; the last one stays.
        batch: The lines to match.
        seconds: How long that may take.
        at: Which pattern it is at the first line.
        whole: Whether a line must match as a whole.

    Returns:
        The matches, each as the line's index and its first group; and, where it got stuck, in words
        and the index of the line, or nothing and 0.

    """
    found: list[tuple[int, str | None]] = []
    index = 0
    # Some loops of re hear no signal: then the kernel ends this process a second later.
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds + 1)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        compiled = [re.compile(pattern) for pattern in patterns]
        looks = [each.fullmatch if whole else each.search for each in compiled]
        look = looks[at]
        for index, line in enumerate(lines_of(batch)):
            if match := look(line):
                found.append((index, match[1] if match.re.groups else None))
                at = min(at + 1, len(looks) - 1)
                look = looks[at]
    except _OutOfTime:
        return found, f"within {seconds:.2g} s", index
    except (MemoryError, OverflowError, RecursionError, re.error) as error:
        return found, f"({error!r})", index
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return found, "", 0


def write(stream: IO[bytes], message: Any) -> None:
    """Send a request, or an answer."""
    data = marshal.dumps(message)
    stream.write(len(data).to_bytes(LENGTH, "little"))
    stream.write(data)
    stream.flush()


def read(stream: IO[bytes]) -> Any:
    """Take a request, or an answer.

    Raises:
        EOFError: None comes any more.

    """
    length = stream.read(LENGTH)
    data = stream.read(int.from_bytes(length, "little"))
    if not data:
        raise EOFError
    return marshal.loads(data)  # noqa: S302 - from our own process


def serve() -> None:
    """Answer requests until nobody is there any more."""
    signal.signal(signal.SIGALRM, _stop)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while True:
        try:
            *request, whole = read(requests)
        except EOFError:
            return
        write(answers, _answer(*request, whole=whole))


if __name__ == "__main__":
    serve()
