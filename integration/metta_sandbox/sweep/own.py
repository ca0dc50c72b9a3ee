"""The strategy ``module:Class``: a search of the user's own, from the workload's folder.

The class is made with ``parameters`` (what the scenario searches: each key with its distribution
and bounds, or its values), ``goal``, ``metric``, ``trials``, ``seed`` and ``options``, by keyword.
It has two methods, and may have a third:

``suggest() -> dict | None``
    The next point: a value for every searched key; None when there is none.
``observe(overrides: dict, score: float | None, cost: float, failed: bool) -> None``
    What came of a trial, in the order of the trials; before the first ``suggest`` also of those
    of a sweep that is resumed.
``prunes(step: int, score: float) -> bool``
    Whether the trial under way ends now, as rank 0 has told this intermediate score.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from metta_sandbox.errors import InputError
from metta_sandbox.scenario.search import Sweep
from metta_sandbox.scenario.values import Value
from metta_sandbox.sweep.space import Space
from metta_sandbox.sweep.strategy import ExhaustedError, Observation, Suggestion


class Own:
    """Calls the user's class.

    Args:
        sweep: The search; its strategy names the class.
        seed: The scenario's seed.
        folder: Where the module is looked for first.

    Raises:
        InputError: There is no such class, it can't be made, or it lacks a method.

    """

    def __init__(self, sweep: Sweep, seed: int, folder: Path) -> None:
        self._name = sweep.strategy
        self._keys = tuple(sweep.parameters)
        self._space = Space.of(sweep.parameters)
        self._asked: dict[str, Value] | None = None
        module, _, name = self._name.partition(":")
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
        try:
            with self._theirs("it"):
                known = getattr(importlib.import_module(module), name)
                self._search = known(
                    parameters={
                        key: parameter.model_dump(mode="json")
                        for key, parameter in sweep.parameters.items()
                    },
                    goal=sweep.goal,
                    metric=sweep.metric,
                    trials=sweep.trials,
                    seed=seed,
                    options=dict(sweep.options),
                )
        except InputError:
            raise
        except Exception as error:
            raise self._refused(f"{type(error).__name__}: {error}") from error
        for method in ("suggest", "observe"):
            if not callable(getattr(self._search, method, None)):
                raise self._refused(f"it has no method {method}")

    def suggest(self) -> Suggestion:
        """Ask for a point; the same one until it is observed what came of it."""
        if self._asked is None:
            with self._theirs("suggest()"):
                found = self._search.suggest()
            if found is None:
                raise ExhaustedError(f"{self._name} has nothing left to suggest")
            if not isinstance(found, Mapping):
                gave = f"suggest() gave a value of the type {type(found).__name__}"
                raise self._refused(f"{gave}; expected a dict, or None")
            missing = [key for key in self._keys if key not in found]
            if missing:
                raise self._refused(f"suggest() gave no value for {', '.join(missing)}")
            self._require_within(found)
            self._asked = dict(found)
        return Suggestion(self._asked)

    def observe(self, observation: Observation) -> None:
        """Tell it what came of a trial."""
        self._asked = None
        with self._theirs("observe()"):
            self._search.observe(
                overrides=dict(observation.overrides),
                score=observation.score,
                cost=observation.cost,
                failed=observation.failed,
            )

    def prunes(self, step: int, score: float) -> bool:
        """Ask it whether the trial under way ends now, if it can say so."""
        said: Any = getattr(self._search, "prunes", None)
        with self._theirs("prunes()"):
            return bool(said(step=step, score=score)) if said else False

    @contextmanager
    def _theirs(self, what: str) -> Iterator[None]:
        """Run their code; where it ends the program, that is a mistake, and not the sweep's end."""
        try:
            yield
        except SystemExit as error:
            raise self._refused(f"{what} ended the program, with status {error.code}") from error

    def _require_within(self, found: Mapping[str, Value]) -> None:
        """Refuse a point outside of what the scenario searches."""
        if more := [key for key in found if key not in self._keys]:
            raise self._refused(
                f"suggest() gave {', '.join(map(str, more))}, which is not searched"
            )
        for key, axis in self._space.axes.items():
            try:
                within = 0 <= axis.to_unit(found[key]) <= 1
            except ValueError:
                within = False
            if not within:
                raise self._refused(f"suggest() gave {key} {found[key]!r}, outside its bounds")

    def _refused(self, why: str) -> InputError:
        return InputError(f"sweep.strategy: {self._name} can't be used: {why}")
