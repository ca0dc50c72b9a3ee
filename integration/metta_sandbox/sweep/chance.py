"""The strategy ``random``: points drawn evenly from the unit cube."""

from __future__ import annotations

import random

from metta_sandbox.scenario.search import Sweep
from metta_sandbox.sweep.space import Space
from metta_sandbox.sweep.strategy import Observation, Suggestion


class Chance:
    """Draws each point from the seed and the number of observations so far."""

    def __init__(self, sweep: Sweep, seed: int) -> None:
        self._space = Space.of(sweep.parameters)
        self._seed = seed
        self._tried = 0

    def suggest(self) -> Suggestion:
        """Draw a point."""
        source = random.Random(f"{self._seed}/{self._tried}")  # noqa: S311 - not for secrets
        return Suggestion(self._space.from_unit([source.random() for _ in self._space.axes]))

    def observe(self, observation: Observation) -> None:
        """Count a trial; what came of it doesn't matter here."""
        del observation
        self._tried += 1
