"""How a sweep may end, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class End(str, Enum):
    """How a sweep came to its end."""

    FINISHED = "finished"
    NODE_FAILED = "node failed"
    NODE_LOST = "node lost"
    SILENT = "silent"
    OVERDUE = "overdue"
    STACK_LOST = "stack lost"

    @property
    def key(self) -> str:
        """How a scenario spells it."""
        return self.value.replace(" ", "_")


@dataclass(frozen=True)
class Ending:
    """The end of a sweep, why, in one sentence, and through whom, if through somebody's loss.

    ``how`` is how whoever is lost has ended, if that was known before it came back.
    """

    end: End
    reason: str
    lost: str = ""
    how: str = ""


@dataclass(frozen=True)
class Limits:
    """How long a sweep may take, be silent, and wait for a node that was lost, in seconds.

    Without ``rejoin`` no lost node is waited for.
    """

    deadline: float
    longest_silence: float
    rejoin: float | None = None
