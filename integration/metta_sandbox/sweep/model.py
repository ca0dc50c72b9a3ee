"""What is expected of places in a search that were not tried, from those that were."""

from __future__ import annotations

import warnings
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Kernel, Matern, WhiteKernel

Array: TypeAlias = NDArray[np.float64]

#: With fewer trials than this, a length scale per dimension would be guessed from too little.
_TRIALS_PER_LENGTH_SCALE = 3
#: Values that differ by less are equal.
_EQUAL = 1e-9


class Model:
    """A Gaussian process over the unit cube, fit to standardised values.

    Args:
        points: What was tried, a row each.
        values: What came of each.

    """

    def __init__(self, points: Array, values: Array) -> None:
        self._mean, self._spread = float(values.mean()), float(values.std())
        self._process: GaussianProcessRegressor | None = None
        # Equal values, up to rounding, have no shape to learn and would divide by nothing.
        if self._spread <= _EQUAL:
            return
        process = GaussianProcessRegressor(_kernel(*points.shape), alpha=1e-6)
        with warnings.catch_warnings():
            # A length scale at its bound is an answer too: the parameter hardly matters.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._process = process.fit(points, (values - self._mean) / self._spread)

    def predict(self, candidates: Array, hope: float = 0.0) -> Array:
        """Give the value that is to be expected of each candidate.

        Args:
            candidates: The places, a row each.
            hope: How many standard deviations of its own doubt are added.

        """
        if self._process is None:
            return np.full(len(candidates), self._mean)
        expected, doubt = self._process.predict(candidates, return_std=True)
        return np.asarray(expected + hope * doubt) * self._spread + self._mean


def _kernel(trials: int, dimensions: int) -> Kernel:
    own = trials >= _TRIALS_PER_LENGTH_SCALE * dimensions
    length_scale = np.full(dimensions, 0.5) if own else 0.5
    shape = Matern(length_scale, length_scale_bounds=(0.05, 20.0), nu=2.5)
    return ConstantKernel(1.0, (0.05, 20.0)) * shape + WhiteKernel(0.01, (1e-5, 1.0))
