"""What nodes' commands printed last."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from metta_sandbox import beneath
from metta_sandbox.stack.link import SWEEP

#: How much of the timeline's end is searched, in bytes.
READ = 1 << 21


def printed_last(timeline: Path) -> dict[str, list[str]]:
    """Read from a ``timeline.jsonl`` the last lines that each node's command printed."""
    printed: dict[str, list[str]] = {}
    for line in beneath.read_end(timeline.parent, timeline, READ).split(b"\n"):
        # The first one may be cut, and most are none of these.
        with suppress(ValueError):
            entry = json.loads(line) if b'"line"' in line else {}
            if entry.get("source") == SWEEP:
                printed.setdefault(entry["node"], []).append(entry["line"])
    return printed
