"""How choices are explored: parameters whose values are a list.

Near a good number there are others, but "adam" is not near "sgd", and a search that only looks near
what was good would never try one of them. So each value gets a turn before any gets a second one,
in an order drawn from the seed. Later, half of all candidates draw a value of their own, whatever
the good trial had that they lie around.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from metta_sandbox.sweep.space import CubeAxis, Listed, Space

Array: TypeAlias = NDArray[np.float64]

#: The share of candidates whose value of a choice is drawn anew.
_ANEW = 0.5
#: How far apart models see two values that have no order, in lengths of an axis.
_APART = 0.5


class Choices:
    """The choices of a search; false if it has none.

    Args:
        space: Where is searched.
        seed: The scenario's seed, 0 or more.

    """

    def __init__(self, space: Space, seed: int) -> None:
        self._axes: tuple[CubeAxis, ...] = tuple(space.axes.values())
        self._sizes = {
            number: len(axis.values)
            for number, axis in enumerate(self._axes)
            if isinstance(axis, Listed)
        }
        #: The values that were not tried yet, by axis, the next one first.
        self._waiting: dict[int, list[int]] = {
            number: np.random.default_rng([seed, number, 1]).permutation(size).tolist()
            for number, size in self._sizes.items()
        }
        #: The axes that models see as one for each value.
        self._apart = frozenset(
            number
            for number in self._sizes
            if isinstance(axis := self._axes[number], Listed) and not axis.ordered
        )

    def __bool__(self) -> bool:
        return bool(self._sizes)

    def observe(self, point: Sequence[float]) -> None:
        """Take note of what was tried, whatever came of it."""
        for number, size in self._sizes.items():
            tried = int(_cells(np.asarray([point[number]]), size)[0])
            self._waiting[number] = [one for one in self._waiting[number] if one != tried]

    def explored(self, candidates: Array, chance: np.random.Generator) -> Array:
        """Give candidates other values: that whose turn it is, or half of them any."""
        found = candidates.copy()
        for number, size in self._sizes.items():
            anew = chance.random(len(found)) < _ANEW
            drawn = (chance.integers(size, size=len(found)) + 0.5) / size
            found[:, number] = np.where(anew, drawn, found[:, number])
            if self._waiting[number]:
                found[:, number] = (self._waiting[number][0] + 0.5) / size
        return found

    def modelled(self, points: Array) -> Array:
        """Place points where models see them: values without an order are equally far apart."""
        return np.hstack(
            [self._seen(number, points[:, number]) for number in range(len(self._axes))]
        )

    @property
    def radii(self) -> list[float]:
        """How far candidates lie from a good point, along each axis that models see."""
        widths = (self._sizes[n] if n in self._apart else 1 for n in range(len(self._axes)))
        return [
            axis.radius
            for axis, width in zip(self._axes, widths, strict=True)
            for _ in range(width)
        ]

    def _seen(self, number: int, places: Array) -> Array:
        if number not in self._apart:
            return places[:, None]
        size = self._sizes[number]
        own = _cells(places, size)[:, None] == np.arange(size)
        return np.asarray(own * (_APART / np.sqrt(2)))


def _cells(places: Array, size: int) -> NDArray[np.intp]:
    """Tell which value stands at each place."""
    return np.clip(places * size, 0, size - 1).astype(np.intp)
