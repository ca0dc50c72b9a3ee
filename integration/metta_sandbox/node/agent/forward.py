"""What processes print, on its way to the agent's own output and to the harness, within bounds.

A trainer may print faster than an engine's log driver can store. So a source forwards a bounded
number of lines a second; what goes beyond is counted and marked, and stands in full in its file.
"""

import json
import sys
import time
from typing import Any, Callable, Dict, List, Optional

from metta_sandbox.node.agent.wire import LineReader

#: Lines a second that one source may forward for long, and at once.
RATE = 1_000.0
BURST = 5_000.0
#: Longer lines are cut when forwarded.
LONGEST_FORWARDED = 8_192
_CHUNK = 1 << 20

Send = Callable[[Dict[str, Any]], None]


class Forwarder:
    """Forwards the lines of one source.

    Args:
        source: What speaks, such as ``sweep`` or ``rank-0``.
        prefix: Put before each line on the agent's own output.
        send: Takes messages for the harness.
        heard: Tells whether events of a process (by pid) arrive over the channel anyway.

    """

    def __init__(self, source: str, prefix: str, send: Send, heard: Callable[[int], bool]) -> None:
        self.source = source
        self._prefix = prefix
        self._send = send
        self._heard = heard
        self._reader = LineReader()
        self._tokens = BURST
        self._filled = time.monotonic()
        self._cut = 0

    def feed(self, data: bytes) -> None:
        """Take in what was printed, and forward the lines that are complete."""
        self._refill()
        if self._tokens < 1:
            # Counting is all that a flood costs; where the cut falls inside a line is no matter.
            self._cut += data.count(b"\n")
            self._reader = LineReader()
            return
        try:
            lines = self._reader.feed(data)
        except ValueError:
            self._reader = LineReader()
            self._cut += 1
            return
        allowed = int(self._tokens)
        self._tokens -= min(len(lines), allowed)
        self._mark_cut()
        self._forward(lines[:allowed])
        self._cut += len(lines) - len(lines[:allowed])

    def close(self) -> None:
        """Forward a last line without an end, and mark what was cut."""
        self._mark_cut()
        self._forward([line for line in self._reader.feed(b"\n") if line])

    def _refill(self) -> None:
        now = time.monotonic()
        self._tokens = min(BURST, self._tokens + (now - self._filled) * RATE)
        self._filled = now

    def _mark_cut(self) -> None:
        if self._cut:
            mark = "[... %d lines of %s not forwarded]" % (self._cut, self.source)
            self._cut = 0
            self._forward([mark.encode()])

    def _forward(self, lines: List[bytes]) -> None:
        texts = [line[:LONGEST_FORWARDED].decode(errors="replace").rstrip("\r") for line in lines]
        plain = []
        printed = []
        for text in texts:
            record = _event(text)
            printed.append(text if record else self._prefix + text)
            if record is None:
                plain.append(text)
            elif not self._heard(record.get("pid", 0)):
                self._send({"type": "event", "record": record, "held": []})
        if printed:
            sys.stdout.write("\n".join(printed) + "\n")
            sys.stdout.flush()
        if plain:
            self._send({"type": "lines", "source": self.source, "lines": plain})


def _event(text: str) -> Optional[Dict[str, Any]]:
    """Read a mirrored event, or return None if the line is something else."""
    if not text.startswith('{"event":'):
        return None
    try:
        record: Dict[str, Any] = json.loads(text)
    except ValueError:
        return None
    return record


class Tail:
    """Follows a growing file and feeds it to a forwarder."""

    def __init__(self, path: str, forwarder: Forwarder) -> None:
        self._path = path
        self._forwarder = forwarder
        self._position = 0

    def poll(self) -> None:
        """Forward what was added since the last time."""
        try:
            with open(self._path, "rb") as file:
                file.seek(self._position)
                while True:
                    data = file.read(_CHUNK)
                    if not data:
                        return
                    self._position += len(data)
                    self._forwarder.feed(data)
        except FileNotFoundError:
            return

    def close(self) -> None:
        """Forward the rest."""
        self.poll()
        self._forwarder.close()
