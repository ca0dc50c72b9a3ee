"""Tells which part of the line to a stack stands still, by the clock of whoever waits. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable

from metta_sandbox.node.agent.load import slowed
from metta_sandbox.node.agent.wire import STILL

#: What the harness hears: its own relay, and beyond that the hub.
RELAY, HUB = "relay", "hub"
#: Seconds that a relay gets to start, and to find the hub.
_STARTING = 20.0
#: Between two looks no more than this counts: for longer, whoever looks stood still itself.
_MOST = 0.5


class Heartbeat:
    """Counts for how long each part has given no sign of life.

    Only time in which whoever waits looked itself counts: one that was kept from it, as by a busy
    machine or its lid, knows of nobody else's silence.

    Args:
        clock: Seconds on a clock that never goes back.
        patience: Gives the seconds to wait here for what takes so many elsewhere.

    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        patience: Callable[[float], float] = slowed,
    ) -> None:
        self._clock = clock
        self._patience = patience
        self._looked = clock()
        self._silent = {RELAY: 0.0, HUB: 0.0}
        self._heard: set[str] = set()

    def hear(self, part: str) -> None:
        """Take in a sign of life; one of the hub's came through the relay."""
        for each in (part, RELAY):
            self._silent[each] = 0.0
            self._heard.add(each)

    def look(self) -> str:
        """Say who stands still, and for how long it was silent; nothing if all are well.

        The relay comes first: through it alone anything is heard of the hub.
        """
        now = self._clock()
        passed, self._looked = min(now - self._looked, _MOST), now
        for part in self._silent:
            # What it is to carry can't be heard before it is there.
            if part == RELAY or RELAY in self._heard:
                self._silent[part] += passed
        for part, silent in self._silent.items():
            if silent >= self._patience(STILL if part in self._heard else STILL + _starts(part)):
                return f"the {part} stands still: no sign of life for {silent:.0f} s"
        return ""


def _starts(part: str) -> float:
    return _STARTING if part == RELAY else 0.0
