"""What a search strategy is.

A strategy is a function of its seed and of what it has observed: asked twice without an observation
between, it answers the same, and one rebuilt from the same observations goes on as the first would
have. That is what makes a sweep resumable and repeatable.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from metta_sandbox.scenario.values import Value


class ExhaustedError(Exception):
    """The strategy has nothing left to suggest; the sweep is complete."""


@dataclass(frozen=True)
class Suggestion:
    """A point of the search space to try.

    Args:
        overrides: A value for every searched key, by dotted key.

    """

    overrides: Mapping[str, Value]


@dataclass(frozen=True)
class Observation:
    """What came of a trial.

    Args:
        overrides: What it ran with; keys that are not searched may be among them.
        score: The metric's value, None if there is none.
        cost: What it cost in the sweep's unit (agent steps or seconds).
        failed: Whether it ended without a score.
        pruned: Whether the strategy ended it early; its score is then the last intermediate one.

    Raises:
        ValueError: A score or cost is not finite, a cost is negative, a trial that succeeded has
            no score or cost nothing.

    """

    overrides: Mapping[str, Value]
    score: float | None
    cost: float
    failed: bool = False
    pruned: bool = False

    def __post_init__(self) -> None:
        if not math.isfinite(self.cost) or self.cost < 0:
            raise ValueError(f"a cost is finite and not negative, not {self.cost}")
        if self.score is not None and not math.isfinite(self.score):
            raise ValueError(f"a score is finite, not {self.score}; such a trial failed")
        if not self.failed and (self.score is None or self.cost == 0):
            raise ValueError("a trial that did not fail has a score, and a cost above 0")


class Strategy(Protocol):
    """Suggests points and learns from what came of them."""

    def suggest(self) -> Suggestion:
        """Name the next point to try.

        Raises:
            ExhaustedError: There is none.

        """
        ...

    def observe(self, observation: Observation) -> None:
        """Take in what came of a trial, in the order of the trials.

        Raises:
            ValueError: It lacks a searched key, or has a value the space can't place.

        """
        ...


@runtime_checkable
class Pruning(Protocol):
    """A strategy that may end a trial early."""

    def prunes(self, step: int, score: float) -> bool:
        """Say whether the trial that was suggested last ends now.

        Args:
            step: The trainer's.
            score: What the metric is after it.

        """
        ...
