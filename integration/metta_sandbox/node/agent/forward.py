"""What processes print, on its way to the agent's own output and to the harness, within bounds.

A trainer may print faster than an engine's log driver can store. So a source forwards a bounded
number of lines a second; what goes beyond is counted and marked, and stands in full in its file.
Of the lines that a source wrote, each is either forwarded or counted in such a mark.
"""

import asyncio
import json
import os
import sys
import time
from typing import Callable, List, Optional, Tuple, Union

from metta_sandbox.node.agent.events import AGENTS_OWN, Record
from metta_sandbox.node.agent.messages import Emitted, Lines
from metta_sandbox.node.agent.safe_open import plain

#: Lines a second that one source may forward for long, and at once.
RATE = 1_000.0
BURST = 5_000.0
#: Longer lines are cut when forwarded, and each such number of bytes counts as a line more.
LONGEST_FORWARDED = 8_192
#: What is kept of a line that has no end yet. A mirrored event may be as long as this.
_KEPT = 1 << 16
#: Bytes of lines that go to the harness in one message, well within a message's bounds.
_BATCH = 1 << 16
_CHUNK = 1 << 20
#: Bytes that a tail takes in before others get their turn.
_TURN = 4 * _CHUNK

Send = Callable[[Union[Emitted, Lines]], None]


class Forwarder:
    """Forwards the lines of one source.

    Args:
        source: What speaks, such as ``sweep`` or ``rank-0``.
        prefix: Put before each line on the agent's own output.
        send: Takes messages for the harness.
        full: Tells whether the harness is too slow for more lines.
        take_printed: Takes an event that may arrive over its emitter's channel, too, and what
            tells the harness of it.

    """

    def __init__(
        self,
        source: str,
        prefix: str,
        send: Send,
        full: Callable[[], bool],
        take_printed: Callable[[Record, Callable[[Record], None]], None],
    ) -> None:
        self.source = source
        self._prefix = prefix.encode()
        self._send = send
        self._full = full
        self._take_printed = take_printed
        # The line that has no end yet: what is kept of it, and its length so far.
        self._begun = b""
        self._length = 0
        self._tokens = BURST
        self._filled = time.monotonic()
        self._cut = 0

    def feed(self, data: bytes) -> None:
        """Take in what was printed, and forward the lines that are complete."""
        self._refill()
        allowed = 0 if self._full() else max(0, int(self._tokens))
        *lines, rest = data.split(b"\n", allowed)
        if allowed:
            self._mark_cut()
        self._forward([self._end(line) for line in lines])
        cut = rest.count(b"\n")
        if cut:
            # The line that was begun is among those.
            self._cut += cut
            self._begun, self._length = b"", 0
            rest = rest[rest.rfind(b"\n") + 1 :]
        self._begin(rest)

    def close(self) -> None:
        """Say how many lines were not forwarded, and forward a last line that has no end."""
        self._mark_cut()
        if self._length:
            self._forward([self._end(b"")])

    def _refill(self) -> None:
        now = time.monotonic()
        self._tokens = min(BURST, self._tokens + (now - self._filled) * RATE)
        self._filled = now

    def _begin(self, part: bytes) -> None:
        self._begun += part[: _KEPT - len(self._begun)]
        self._length += len(part)

    def _end(self, part: bytes) -> Tuple[bytes, int]:
        """Return what was kept of a line that is now complete, and its length."""
        self._begin(part)
        line = self._begun, self._length
        self._begun, self._length = b"", 0
        self._tokens -= 1 + line[1] // LONGEST_FORWARDED
        return line

    def _mark_cut(self) -> None:
        if self._cut:
            mark = b"[... %d lines of %s not forwarded]" % (self._cut, self.source.encode())
            self._cut = 0
            self._forward([(mark, len(mark))])

    def _forward(self, lines: List[Tuple[bytes, int]]) -> None:
        printed: List[bytes] = []
        batch: List[str] = []
        size = 0
        for kept, length in lines:
            record = _event(kept) if length == len(kept) else None
            if record is not None:
                printed.append(kept)
                self._tell(batch)
                batch, size = [], 0
                self._take_printed(record, self._tell_of)
                continue
            text = _shown(kept, length)
            printed.append(self._prefix + text)
            if size + len(text) > _BATCH:
                self._tell(batch)
                batch, size = [], 0
            batch.append(text.decode(errors="replace"))
            size += len(text)
        self._tell(batch)
        _print(printed)

    def _tell_of(self, record: Record) -> None:
        self._send({"type": "event", "record": record, "held": []})

    def _tell(self, lines: List[str]) -> None:
        if lines:
            self._send({"type": "lines", "source": self.source, "lines": lines})


def _shown(kept: bytes, length: int) -> bytes:
    if length <= LONGEST_FORWARDED:
        return kept.rstrip(b"\r")
    left = length - LONGEST_FORWARDED
    return kept[:LONGEST_FORWARDED] + b" [... %d bytes not forwarded]" % left


def _print(lines: List[bytes]) -> None:
    if not lines:
        return
    try:
        sys.stdout.buffer.write(b"\n".join(lines) + b"\n")
        sys.stdout.buffer.flush()
    except OSError:
        # A full disk, or nobody reading: the harness and the rank's file have the lines still.
        return


def _event(line: bytes) -> Optional[Record]:
    """Read a mirrored event, or return None if the line is something else."""
    if not line.startswith(b'{"event":'):
        return None
    try:
        record: Record = json.loads(line)
    except (RecursionError, ValueError):
        return None
    # Structured logs of others begin the same way.
    who = isinstance(record.get("pid"), int) and isinstance(record.get("seq"), int)
    name = record["event"]
    return record if who and isinstance(name, str) and name not in AGENTS_OWN else None


class Tail:
    """Follows a growing file and feeds it to a forwarder.

    Args:
        path: The file, which need not be there yet.
        forwarder: Takes what is added.
        start: Where to begin, in bytes.

    """

    def __init__(self, path: str, forwarder: Forwarder, start: int = 0) -> None:
        self._path = path
        self._forwarder = forwarder
        self._position = start

    def poll(self) -> None:
        """Forward what was added to the file since the last time, up to ``_TURN`` bytes."""
        self._take(_TURN)

    async def finish(self) -> None:
        """Forward what is left of the file, and end the forwarder."""
        try:
            end = os.lstat(self._path).st_size
        except OSError:
            end = 0
        while self._position < end:
            if not self._take(_CHUNK):
                break
            # One that printed gigabytes must not keep the agent from its other work.
            await asyncio.sleep(0)
        self._forwarder.close()

    def _take(self, most: int) -> int:
        """Read and forward at most so many bytes; returns how many there were."""
        taken = 0
        try:
            with open(self._path, "rb", buffering=0, opener=plain) as file:
                file.seek(self._position)
                while taken < most:
                    data = file.read(_CHUNK)
                    if not data:
                        break
                    taken += len(data)
                    self._forwarder.feed(data)
        except OSError:
            # Not there yet, or its disk is in trouble: looked at again next time.
            pass
        self._position += taken
        if not taken:
            # A flood that is over is marked as such.
            self._forwarder.feed(b"")
        return taken
