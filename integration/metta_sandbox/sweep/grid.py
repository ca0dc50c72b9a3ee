"""Every combination of the values given, the last parameter of the file changing fastest."""

from __future__ import annotations

import math

from metta_sandbox.scenario.search import Choice, Sweep
from metta_sandbox.scenario.values import Value
from metta_sandbox.sweep.strategy import ExhaustedError, Observation, Suggestion


class Grid:
    """Suggests the combinations in order, one per observation, and then no more.

    Raises:
        ValueError: A parameter has a range instead of values (loading refuses that with its place).

    """

    def __init__(self, sweep: Sweep) -> None:
        self._values: dict[str, tuple[Value, ...]] = {}
        for key, parameter in sweep.parameters.items():
            if not isinstance(parameter, Choice):
                raise ValueError(f"{key}: a grid needs values")
            self._values[key] = parameter.values
        self._size = math.prod(len(values) for values in self._values.values())
        self._tried = 0

    def suggest(self) -> Suggestion:
        """Name the next combination."""
        if self._tried >= self._size:
            raise ExhaustedError(f"all {self._size} combinations were tried")
        rest, chosen = self._tried, {}
        for key, values in reversed(self._values.items()):
            rest, index = divmod(rest, len(values))
            chosen[key] = values[index]
        return Suggestion({key: chosen[key] for key in self._values})

    def observe(self, observation: Observation) -> None:
        """Count a trial; what came of it doesn't matter here."""
        del observation
        self._tried += 1
