"""Cost-aware Bayesian optimisation, after PufferLib's Protein.

See https://github.com/PufferAI/PufferLib/blob/main/pufferlib/sweep.py for the method. One Gaussian
process models the score over the unit cube, another the logarithm of the cost. Candidates are drawn
within the search radius around the trials that are on the Pareto front of score against cost. A
place on the cost axis is drawn, and the candidate that promises most there is suggested: the front
grows along its whole length, cheap trials are as welcome as good ones, and none is a dead end.

Choices are explored on top of that, which Protein has none of; see ``metta_sandbox.sweep.choices``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from metta_sandbox.scenario.search import Sweep
from metta_sandbox.sweep.choices import Choices
from metta_sandbox.sweep.space import Space
from metta_sandbox.sweep.strategy import Observation, Suggestion

if TYPE_CHECKING:
    from metta_sandbox.sweep.model import Model

Array: TypeAlias = NDArray[np.float64]

#: Candidates around each point of the Pareto front.
_PER_FRONT_POINT = 128
#: The front is thinned to this many points, so that the time for a suggestion is bounded.
_LARGEST_FRONT = 16
#: Only so many of the newest trials are modelled, for the same reason.
_MOST_MODELLED = 256
#: How far beyond the dearest trial so far the drawn cost may lie, in lengths of the cost axis.
_EXPANSION = 0.25
#: Distance, in search radii per root of the dimensions, over which a failure casts doubt.
_FAILURE_REACH = 0.25
#: How many standard deviations a model's doubt counts in favour of a candidate, among choices.
_HOPE = 1.0
#: Scores (as shares of the largest) and logarithms of costs that differ by less are equal.
_EQUAL = 1e-9


class Protein:
    """Suggests the search centre first, and then what the models of score and cost favour.

    All chance comes from the seed and the number of observations, so a sweep that is resumed from
    its observations goes on as if it had never stopped.
    """

    def __init__(self, sweep: Sweep, seed: int) -> None:
        self._space = Space.of(sweep.parameters)
        self._choices = Choices(self._space, seed)
        self._seed = seed
        self._sign = 1.0 if sweep.goal == "maximize" else -1.0
        self._max_cost = sweep.max_cost
        self._tried = 0
        self._points: list[list[float]] = []
        self._scores: list[float] = []
        self._costs: list[float] = []
        self._failures: list[list[float]] = []

    def observe(self, observation: Observation) -> None:
        """Remember a trial. See ``Strategy.observe``."""
        point = self._space.to_unit(observation.overrides)
        self._choices.observe(point)
        self._tried += 1
        if observation.failed or observation.score is None:
            self._failures.append(point)
        else:
            self._points.append(point)
            self._scores.append(self._sign * observation.score)
            self._costs.append(observation.cost)

    def suggest(self) -> Suggestion:
        """Name the next point to try. See ``Strategy.suggest``."""
        if self._tried == 0 or not self._space.axes:
            return Suggestion(self._space.from_unit(self._space.centre))
        chance = np.random.default_rng([self._seed, self._tried])
        if self._points:
            # Slow to import, and the first trial need not wait for it. Whatever has threads is
            # loaded before they are limited.
            from metta_sandbox.sweep.model import Model  # noqa: PLC0415

            # One thread: the matrices are tiny, and sums then come out the same everywhere.
            with threadpool_limits(limits=1):
                point = self._pick(chance, Model)
        else:
            # Nothing worked yet, so nothing is known but where not to look.
            anywhere = chance.random((_PER_FRONT_POINT, len(self._space.axes)))
            candidates = self._choices.explored(anywhere, chance)
            point = candidates[int(np.argmin(self._doubt(candidates)))]
        return Suggestion(self._space.from_unit(point.tolist()))

    def _pick(self, chance: np.random.Generator, model: type[Model]) -> Array:
        points = np.asarray(self._points[-_MOST_MODELLED:])
        scores = np.asarray(self._scores[-_MOST_MODELLED:])
        scores = scores / (float(np.abs(scores).max()) or 1.0)  # squares of any score stay finite
        costs = np.log(np.asarray(self._costs[-_MOST_MODELLED:]))
        front = pareto_front(scores, costs)
        candidates = self._around(points[_thin(front, _LARGEST_FRONT)], chance)
        target = (1 + _EXPANSION) * chance.random()
        seen, asked = self._choices.modelled(points), self._choices.modelled(candidates)
        score = model(seen, scores).predict(asked, hope=_HOPE if self._choices else 0.0)
        cost = model(seen, costs).predict(asked)
        if self._max_cost is not None:
            affordable = cost <= np.log(self._max_cost)
            if not affordable.any():
                return np.asarray(candidates[int(np.argmin(cost))])
            candidates, score, cost = (part[affordable] for part in (candidates, score, cost))
        worth = _along(score, scores) * _nearness(target, _along(cost, costs))
        return np.asarray(candidates[int(np.argmax(worth * (1 - self._doubt(candidates))))])

    def _around(self, centres: Array, chance: np.random.Generator) -> Array:
        shape = (len(centres), _PER_FRONT_POINT, len(self._space.axes))
        offsets = (2 * chance.random(shape) - 1) * np.asarray(self._space.radii)
        near = np.clip(centres[:, None, :] + offsets, 0, 1).reshape(-1, shape[2])
        candidates = self._choices.explored(near, chance)
        # What will be tried is the nearest value there is, so that is what must be judged.
        snapped = [
            self._space.to_unit(self._space.from_unit(point)) for point in candidates.tolist()
        ]
        return np.asarray(snapped)

    def _doubt(self, candidates: Array) -> Array:
        """Estimate how likely each candidate is to fail, 0 to 1, from the trials near it.

        A kernel-weighted share of failures (Nadaraya-Watson), with a small constant so that where
        nothing was tried nothing is doubted.
        """
        failed = self._weight(candidates, self._failures)
        return failed / (failed + self._weight(candidates, self._points) + 0.1)

    def _weight(self, candidates: Array, points: list[list[float]]) -> Array:
        if not points:
            return np.zeros(len(candidates))
        reach = _FAILURE_REACH * np.asarray(self._choices.radii) * np.sqrt(candidates.shape[1])
        asked, seen = (self._choices.modelled(np.asarray(each)) for each in (candidates, points))
        steps = (asked[:, None, :] - seen[None, :, :]) / reach
        return np.asarray(np.exp(-0.5 * (steps**2).sum(axis=2)).sum(axis=1))


def pareto_front(scores: Array, costs: Array) -> NDArray[np.intp]:
    """List the trials that no other beats: as good at no more cost, and better in one of the two.

    Of trials equal in both, the first is listed.

    Args:
        scores: One per trial, higher is better.
        costs: One per trial, lower is better.

    Returns:
        Their indices, cheapest first.

    """
    front: list[int] = []
    best = -np.inf
    for index in np.lexsort((-scores, costs)):
        if scores[index] > best:
            front.append(int(index))
            best = scores[index]
    return np.asarray(front, dtype=np.intp)


def _thin(front: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """Keep evenly spread points of a front, both ends among them."""
    if len(front) <= most:
        return front
    return np.asarray(front[np.linspace(0, len(front) - 1, most).round().astype(int)])


def _along(values: Array, seen: Array) -> Array:
    """Place values on the scale from the lowest seen (0) to the highest (1)."""
    low, span = float(seen.min()), float(np.ptp(seen))
    if span <= _EQUAL:
        return np.full(len(values), 0.5)
    return np.asarray((values - low) / span)


def _nearness(target: float, places: Array) -> Array:
    """Weigh places by their nearness to a target: 1 on it, falling with the distance, never 0."""
    return np.asarray(np.maximum(1 - np.abs(target - places), 0.01))
