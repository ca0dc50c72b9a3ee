"""Nodes that were lost in mid-sweep and may come back: until when, and how they were lost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

#: Seconds within which an engine knows that a process has ended whose connection broke.
_KNOWN = 2.0
_LOOK = 0.05


@dataclass(frozen=True)
class Absence:
    """A node's absence.

    Args:
        since: When it was lost, by ``time.monotonic``.
        how: How its first process ended, in words.

    """

    since: float
    how: str


class Absentees:
    """Nodes that are waited for.

    Args:
        patience: Seconds that each gets to come back; None where nobody is waited for.

    """

    def __init__(self, patience: float | None) -> None:
        self._patience = patience
        self._absent: dict[str, Absence] = {}

    def wait_for(self, host: str, fallen: Callable[[], Mapping[str, str]]) -> Absence | None:
        """Begin to wait for a node; returns None where nobody is waited for.

        Args:
            host: The node.
            fallen: Says of each host that has ended how it did, maybe a moment later than it did.

        """
        if self._patience is None:
            return None
        since = time.monotonic()
        while not (how := fallen().get(host, "")) and time.monotonic() < since + _KNOWN:
            time.sleep(_LOOK)
        self._absent[host] = Absence(since, how or "is lost")
        return self._absent[host]

    def take(self, host: str) -> Absence | None:
        """Take in that a node is there; returns its absence, if it was waited for."""
        return self._absent.pop(host, None)

    @property
    def deadline(self) -> float:
        """When the first of them is given up, by ``time.monotonic``."""
        patience = self._patience or 0.0
        return min((one.since + patience for one in self._absent.values()), default=math.inf)

    @property
    def overdue(self) -> tuple[str, str] | None:
        """The first one that is given up now, if one is, and why, in words."""
        for host, absence in self._absent.items():
            if self._patience is not None and time.monotonic() >= absence.since + self._patience:
                return host, f"{host} {absence.how}, and did not come back in {self._patience:g} s"
        return None
