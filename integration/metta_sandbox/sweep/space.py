"""The search space: every parameter as an axis of the unit cube.

An axis maps its parameter to the interval from 0 to 1 so that equal steps are equally interesting:

=================  ===============================================================
``uniform``        u = (x - min) / (max - min)
``log_normal``     u = ln(x / min) / ln(max / min)
``logit_normal``   u = ln((1 - x) / (1 - min)) / ln((1 - max) / (1 - min))
``int_uniform``    the whole numbers from min to max, each an equal cell
``uniform_pow2``   the powers of two from min to max, each an equal cell
``values``         the values in their order, each an equal cell
=================  ===============================================================

A value with a cell is the number i of n stands at its middle, u = (i + 1/2) / n, and any u within
the cell gives it back.

As in the spaces of PufferLib's Protein and of CARBS, from which names and meanings come
(https://github.com/PufferAI/PufferLib/blob/main/pufferlib/sweep.py), *mean* and *scale* are not
moments of a distribution in spite of their names: ``mean`` is the **search centre**, the point that
is suggested first (default: u = 1/2), and ``scale`` the **search radius**: around a point that is
worth a closer look, candidates are drawn evenly within scale/2 of u, clipped to 0 and 1.
``auto`` is 0.5, a quarter of the range to each side. ``time``, for logarithmic axes, is
1 / log2(ratio of the ends), which is half a doubling to each side (of 1 - x for logit_normal).
Note that ``logit_normal`` follows PufferLib in using the distance from 1 alone, so that 0 is a
fine lower bound; near 1, where discounts live, it equals the logit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from metta_sandbox.scenario.search import WHOLE, Choice, Range
from metta_sandbox.scenario.values import Value

AUTO_SCALE = 0.5


class CubeAxis(Protocol):
    """One parameter as an axis of the unit cube.

    Args:
        centre: Where the search begins, from 0 to 1.
        radius: How far candidates lie from a good point on this axis.

    """

    @property
    def centre(self) -> float: ...  # noqa: D102
    @property
    def radius(self) -> float: ...  # noqa: D102

    def to_unit(self, value: Value) -> float:
        """Place a value on the axis; outside 0 to 1 if it is outside the bounds.

        Raises:
            ValueError: It can't be on this axis at all.

        """
        ...

    def from_unit(self, place: float) -> Value:
        """Name the value at a place; places outside 0 to 1 count as the nearer end."""
        ...


@dataclass(frozen=True)
class Continuous:
    """A range of real numbers. The maths is that of the module's table."""

    spec: Range

    @property
    def centre(self) -> float:
        """The place of the mean."""
        return 0.5 if self.spec.mean is None else self.to_unit(self.spec.mean)

    @property
    def radius(self) -> float:
        """Half the parameter's scale."""
        return _radius(self.spec, abs(self._end - self._start) / math.log(2))

    def to_unit(self, value: Value) -> float:
        """See ``CubeAxis.to_unit``."""
        return (self._along(_number(value)) - self._start) / (self._end - self._start)

    def from_unit(self, place: float) -> float:
        """See ``CubeAxis.from_unit``."""
        if not 0 < place < 1:  # the ends exactly, whatever rounding would make of them
            return self.spec.min if place <= 0 else self.spec.max
        along = self._start + place * (self._end - self._start)
        # What people wrote as 0.01 comes back as that, and not with what rounding left of it.
        value = float(f"{self._back(along):.12g}")
        return min(max(value, self.spec.min), self.spec.max)

    @property
    def _start(self) -> float:
        return self._along(self.spec.min)

    @property
    def _end(self) -> float:
        return self._along(self.spec.max)

    def _along(self, value: float) -> float:
        if self.spec.distribution == "log_normal":
            return math.log(value)
        if self.spec.distribution == "logit_normal":
            return -math.log1p(-value)
        return value

    def _back(self, along: float) -> float:
        if self.spec.distribution == "log_normal":
            return math.exp(along)
        if self.spec.distribution == "logit_normal":
            return -math.expm1(-along)
        return along


@dataclass(frozen=True)
class Whole:
    """A range of whole numbers, or of powers of two."""

    spec: Range

    @property
    def centre(self) -> float:
        """The place of the mean."""
        return 0.5 if self.spec.mean is None else self.to_unit(self.spec.mean)

    @property
    def radius(self) -> float:
        """Half the scale."""
        return _radius(self.spec, self.count - 1)

    def to_unit(self, value: Value) -> float:
        """See ``CubeAxis.to_unit``."""
        return (self._along(_number(value)) - self._along(self.spec.min) + 0.5) / self.count

    def from_unit(self, place: float) -> int:
        """See ``CubeAxis.from_unit``."""
        index = min(max(math.floor(place * self.count), 0), self.count - 1)
        first = round(self._along(self.spec.min))
        return 2 ** (first + index) if self._is_pow2 else first + index

    @property
    def _is_pow2(self) -> bool:
        return self.spec.distribution == "uniform_pow2"

    @property
    def count(self) -> int:
        """How many cells it has."""
        return round(self._along(self.spec.max) - self._along(self.spec.min)) + 1

    def _along(self, value: float) -> float:
        return math.log2(value) if self._is_pow2 else value


@dataclass(frozen=True)
class Listed:
    """A list of values. Its centre is the middle one, of an even number the later."""

    values: tuple[Value, ...]
    centre: float = 0.5
    radius: float = AUTO_SCALE / 2

    @property
    def count(self) -> int:
        """How many cells it has."""
        return len(self.values)

    @property
    def ordered(self) -> bool:
        """Whether they are numbers, so that one lies between two others."""
        return not any(
            isinstance(value, bool) or not isinstance(value, (int, float)) for value in self.values
        )

    def to_unit(self, value: Value) -> float:
        """See ``CubeAxis.to_unit``."""
        for index, known in enumerate(self.values):
            # True == 1 in Python, but not in anybody's configuration.
            if known == value and isinstance(known, bool) == isinstance(value, bool):
                return (index + 0.5) / len(self.values)
        raise ValueError(f"{value!r} is none of {', '.join(map(repr, self.values))}")

    def from_unit(self, place: float) -> Value:
        """See ``CubeAxis.from_unit``."""
        return self.values[min(max(math.floor(place * len(self.values)), 0), len(self.values) - 1)]


@dataclass(frozen=True)
class Space:
    """The unit cube whose axes are a sweep's parameters, in the order of the file."""

    axes: Mapping[str, Continuous | Whole | Listed]

    @classmethod
    def of(cls, parameters: Mapping[str, Range | Choice]) -> Space:
        """Make the space of a sweep's parameters."""
        return cls({key: _axis(spec) for key, spec in parameters.items()})

    @property
    def centre(self) -> list[float]:
        """Where the search begins."""
        return [axis.centre for axis in self.axes.values()]

    @property
    def radii(self) -> list[float]:
        """How far candidates lie from a good point, per axis."""
        return [axis.radius for axis in self.axes.values()]

    def from_unit(self, point: Sequence[float]) -> dict[str, Value]:
        """Name the overrides at a point of the cube."""
        pairs = zip(self.axes.items(), point, strict=True)
        return {key: axis.from_unit(place) for (key, axis), place in pairs}

    def to_unit(self, overrides: Mapping[str, Value]) -> list[float]:
        """Place overrides in the cube; keys that are no axis are passed over.

        Raises:
            ValueError: An axis has no value, or one that can't be on it.

        """
        missing = [key for key in self.axes if key not in overrides]
        if missing:
            raise ValueError(f"no value for {', '.join(missing)}")
        return [axis.to_unit(overrides[key]) for key, axis in self.axes.items()]


def _axis(spec: Range | Choice) -> Continuous | Whole | Listed:
    if isinstance(spec, Choice):
        return Listed(spec.values)
    return Whole(spec) if spec.distribution in WHOLE else Continuous(spec)


def _radius(spec: Range, octaves: float) -> float:
    if spec.scale == "auto":
        return AUTO_SCALE / 2
    return 1 / octaves / 2 if spec.scale == "time" else float(spec.scale) / 2


def _number(value: Value) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"expected a number, not {value!r}")
    return value
