"""The strategy ``wandb``: W&B's own published engine suggests (``sweeps`` on PyPI).

It searches as W&B's cloud does: ``method`` is ``bayes``, ``random`` or ``grid``, and
``early_terminate`` a Hyperband, https://docs.wandb.ai/guides/sweeps/sweep-config-keys. Each
parameter but a list of values is searched on its axis of the unit cube (``space``).
"""

from __future__ import annotations

import random
import warnings
from typing import Any

import numpy as np

with warnings.catch_warnings():
    # It is written for an older pydantic, and says so.
    warnings.simplefilter("ignore")
    import sweeps

from metta_sandbox.errors import InputError
from metta_sandbox.scenario.search import Sweep
from metta_sandbox.scenario.values import Value
from metta_sandbox.sweep.space import Listed, Space
from metta_sandbox.sweep.strategy import ExhaustedError, Observation, Suggestion


class Wandb:
    """Asks W&B's engine for points.

    Raises:
        InputError: The engine refuses the method, or the early termination.

    """

    def __init__(self, sweep: Sweep, seed: int) -> None:
        self._space = Space.of(sweep.parameters)
        self._seed = seed
        self._metric = sweep.metric
        self._config: dict[str, Any] = {
            "method": "bayes",
            **sweep.options,
            "metric": {"name": sweep.metric, "goal": sweep.goal},
            "parameters": {
                key: {"values": list(axis.values)}
                if isinstance(axis, Listed)
                else {"distribution": "uniform", "min": 0.0, "max": 1.0}
                for key, axis in self._space.axes.items()
            },
        }
        try:
            self._config = dict(sweeps.SweepConfig(self._config))
        except Exception as error:  # of whatever schema library it uses
            raise InputError(f"sweep.options: W&B's engine refuses them: {error}") from error
        self._runs: list[sweeps.SweepRun] = []
        self._asked: tuple[sweeps.SweepRun, dict[str, Value]] | None = None

    def suggest(self) -> Suggestion:
        """Ask for a point; the same one until it is observed what came of it.

        Raises:
            ExhaustedError: A grid has no more.

        """
        if self._asked is None:
            # The engine draws from the generators that all share.
            random.seed(f"{self._seed}/{len(self._runs)}")
            np.random.seed([self._seed, len(self._runs)])  # noqa: NPY002 - see above
            with warnings.catch_warnings():
                # Of how well its model fits, which whoever reads a rollout's log can't change.
                warnings.simplefilter("ignore")
                run = sweeps.next_run(self._config, self._runs)
            if run is None:
                raise ExhaustedError("W&B's engine has nothing left to suggest")
            run.state = sweeps.RunState.running
            point = [self._place(key, run.config[key]["value"]) for key in self._space.axes]
            self._asked = run, self._space.from_unit(point)
        return Suggestion(self._asked[1])

    def observe(self, observation: Observation) -> None:
        """Add what came of a trial to the runs that the engine knows."""
        run = self._asked[0] if self._asked else sweeps.SweepRun()
        self._asked = None
        places = self._space.to_unit(observation.overrides)
        pairs = zip(self._space.axes.items(), places, strict=True)
        run.config = {
            key: {"value": observation.overrides[key] if isinstance(axis, Listed) else place}
            for (key, axis), place in pairs
        }
        run.state = sweeps.RunState.failed if observation.failed else sweeps.RunState.finished
        if observation.score is not None:
            run.summary_metrics = {self._metric: observation.score}
        self._runs.append(run)

    def prunes(self, step: int, score: float) -> bool:
        """Add an intermediate score of the trial under way, and ask the early termination."""
        if self._asked is None or "early_terminate" not in self._config:
            return False
        run = self._asked[0]
        run.history.append({"_step": step, self._metric: score})
        return any(each is run for each in sweeps.stop_runs(self._config, [*self._runs, run]))

    def _place(self, key: str, value: Any) -> float:
        axis = self._space.axes[key]
        return axis.to_unit(value) if isinstance(axis, Listed) else float(value)
