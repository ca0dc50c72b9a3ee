"""Tells whoever watches how a sweep gets on."""

from __future__ import annotations

import time

from metta_sandbox.progress import Progress
from metta_sandbox.timeline.recording import Event


class Narrator:
    """Makes a line of each event that is worth one.

    Args:
        progress: Gets the lines.

    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._first_exits: dict[str, Event] = {}
        self._started: float | None = None
        #: Seconds from the sweep's start until its first trial was over, if one was.
        self.first_trial: float | None = None
        #: What became of each trial that failed.
        self.failures: list[str] = []

    def began(self) -> None:
        """Take in that the sweep has started."""
        self._started = time.perf_counter()

    def take(self, event: Event) -> None:
        """Tell of an event."""
        trial = f"trial {event.get('trial')} ({event.get('run')})"
        if event.name == "handoff.sent":
            self._progress(f"{trial}: handed off to all nodes")
        elif event.name == "rank.exited" and event.get("status") != 0:
            self._first_exits.setdefault(str(event.get("group")), event)
        elif event.name == "observation.recorded":
            if self.first_trial is None and self._started is not None:
                self.first_trial = time.perf_counter() - self._started
            if event.get("failed"):
                first = self._first_exits.get(f"trial-{event.get('trial')}")
                who = f", rank {first.get('rank')} on {first.get('node')} first" if first else ""
                self.failures.append(f"{trial} failed{who}: {event.get('reason')}")
                self._progress(self.failures[-1])
            else:
                self._progress(f"{trial}: score {event.get('score'):g}")
