"""The strategy ``optuna``: Optuna's samplers suggest, its pruners end trials early.

Optuna sees each parameter as an axis of the unit cube (``space``), on which equal steps are equally
interesting: a ``FloatDistribution`` from 0 to 1; whole numbers and powers of two are an
``IntDistribution`` of their cells, and a list of values is a ``CategoricalDistribution`` of them.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from metta_sandbox.errors import InputError
from metta_sandbox.scenario.search import Sweep
from metta_sandbox.sweep.space import Continuous, Listed, Space, Whole
from metta_sandbox.sweep.strategy import Observation, Suggestion


class Optuna:
    """Asks a study for each point, made anew of all that was observed so far.

    So it suggests the same again after a resume. The samplers that keep what they know with the
    trials they have asked, CMA-ES and NSGA-II, do so only within one run.

    Raises:
        InputError: The installed Optuna refuses what the scenario gives its sampler or pruner.

    """

    def __init__(self, sweep: Sweep, seed: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space = Space.of(sweep.parameters)
        self._seed = seed
        self._goal = sweep.goal
        self._sampler = sweep.options.get("sampler", "TPESampler")
        self._pruner = _made(optuna.pruners, sweep.options.get("pruner", "NopPruner"), "pruner")
        self._observed: list[FrozenTrial] = []
        self._asked: Trial | None = None
        # So that a wrong argument is told before the first trial.
        self._study()

    def suggest(self) -> Suggestion:
        """Ask for a point; the same one until it is observed what came of it."""
        if self._asked is None:
            self._asked = self._study().ask(self._distributions)
        params = self._asked.params
        return Suggestion(
            self._space.from_unit([self._place(key, params[key]) for key in self._space.axes])
        )

    def observe(self, observation: Observation) -> None:
        """Keep what came of a trial, one of this run or of an earlier one."""
        asked = None if self._asked is None else self._asked.study.trials[-1]
        self._asked = None
        state = TrialState.PRUNED if observation.pruned else TrialState.COMPLETE
        places = self._space.to_unit(observation.overrides)
        pairs = zip(self._space.axes, places, strict=True)
        self._observed.append(
            create_trial(
                state=TrialState.FAIL if observation.failed else state,
                value=None if observation.failed else observation.score,
                params={key: self._param(key, place) for key, place in pairs},
                distributions=self._distributions,
                system_attrs=asked.system_attrs if asked else None,
                intermediate_values=asked.intermediate_values if asked else None,
            )
        )

    def prunes(self, step: int, score: float) -> bool:
        """Report an intermediate score of the trial that was suggested last, and ask the pruner."""
        if self._asked is None:
            return False
        self._asked.report(score, step)
        return self._asked.should_prune()

    def _study(self) -> optuna.Study:
        seed = self._seed + len(self._observed)
        sampler = _made(optuna.samplers, self._sampler, "sampler", seed=seed)
        study = optuna.create_study(direction=self._goal, sampler=sampler, pruner=self._pruner)
        study.add_trials(self._observed)
        return study

    @property
    def _distributions(self) -> dict[str, BaseDistribution]:
        return {key: _distribution(axis) for key, axis in self._space.axes.items()}

    def _place(self, key: str, param: Any) -> float:
        axis = self._space.axes[key]
        return float(param) if isinstance(axis, Continuous) else (param + 0.5) / axis.count

    def _param(self, key: str, place: float) -> float:
        axis = self._space.axes[key]
        return place if isinstance(axis, Continuous) else int(place * axis.count)


def _distribution(axis: Continuous | Whole | Listed) -> BaseDistribution:
    if isinstance(axis, Continuous):
        return FloatDistribution(0.0, 1.0)
    if isinstance(axis, Whole):
        return IntDistribution(0, axis.count - 1)
    return CategoricalDistribution(range(axis.count))


def _made(module: Any, said: str | Mapping[str, Any], role: str, **more: Any) -> Any:
    """Make a sampler or pruner: ``TPESampler``, or ``{TPESampler: {multivariate: true}}``."""
    (name, given), *_ = {said: {}}.items() if isinstance(said, str) else said.items()
    try:
        known = getattr(module, name)
        takes = inspect.signature(known).parameters
        fitting = {key: value for key, value in more.items() if key in takes}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return known(**fitting, **(given or {}))
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f"sweep.options.{role}: Optuna {optuna.__version__} refuses {name}: {error}"
        ) from error
