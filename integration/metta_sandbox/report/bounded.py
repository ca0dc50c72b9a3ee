"""Bounded pictures of streams that may be of any length: curves, marks on a lane, logs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Point = tuple[float, float]
#: Seconds, of the finest bins that marks are counted in.
_FINEST = 0.001


@dataclass(frozen=True)
class _Bucket:
    lowest: Point
    highest: Point
    count: int

    def __add__(self, other: _Bucket) -> _Bucket:
        return _Bucket(
            min(self.lowest, other.lowest, key=_y),
            max(self.highest, other.highest, key=_y),
            self.count + other.count,
        )


class Curve:
    """A curve of at most ``2 * limit + 1`` points that keeps its extremes and its last point.

    Successive points share a bucket, of which the lowest and the highest are kept. When there are
    too many buckets, neighbours are joined.

    Args:
        limit: The most buckets, at least 2.

    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._stride = 1
        self._buckets: list[_Bucket] = []
        self._last: Point | None = None

    def add(self, x: float, y: float) -> None:
        """Add the next point."""
        self._last = (x, y)
        new = _Bucket(self._last, self._last, 1)
        if len(self._buckets) >= self._limit and self._full():
            self.shrink(self._limit // 2)
        if self._full():
            self._buckets.append(new)
        else:
            self._buckets[-1] += new

    def shrink(self, limit: int) -> None:
        """Join buckets until there are at most ``limit``, at least one."""
        while len(self._buckets) > max(limit, 1):
            pairs = zip(self._buckets[::2], [*self._buckets[1::2], None], strict=False)
            self._buckets = [one + other if other else one for one, other in pairs]
            self._stride *= 2

    def points(self) -> list[Point]:
        """Give what is left of the curve, by x."""
        kept = {point for bucket in self._buckets for point in (bucket.lowest, bucket.highest)}
        if self._last is not None:
            kept.add(self._last)
        return sorted(kept)

    def _full(self) -> bool:
        return not self._buckets or self._buckets[-1].count >= self._stride


@dataclass(frozen=True)
class Mark:
    """Something that happened once, or several times in a short while; times in seconds."""

    first: float
    last: float
    count: int
    text: str


class Marks:
    """Marks of one kind on one lane, at most ``limit``; those close to each other are counted.

    Args:
        limit: The most marks.

    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._width = _FINEST
        self._bins: dict[int, Mark] = {}

    def add(self, time: float, text: Callable[[], str]) -> None:
        """Add a mark. ``text`` is asked only of one that is not merely counted."""
        index = int(time / self._width)
        there = self._bins.get(index)
        new = Mark(time, time, 1, "" if there else text())
        self._bins[index] = _together(there, new) if there else new
        if len(self._bins) > self._limit:
            self.shrink(self._limit)

    def shrink(self, limit: int) -> None:
        """Count neighbours together until at most ``limit`` are left, at least one."""
        while len(self._bins) > max(limit, 1):
            self._width *= 2
            before, self._bins = self._bins, {}
            for mark in before.values():
                index = int(mark.first / self._width)
                there = self._bins.get(index)
                self._bins[index] = _together(there, mark) if there else mark

    def __iter__(self) -> Iterator[Mark]:
        return iter(sorted(self._bins.values(), key=lambda mark: mark.first))


@dataclass(frozen=True)
class LogLine:
    """A line of a log. ``order`` is its place among all entries of the timeline."""

    order: int
    received: float
    text: str


class LogEnds:
    """A log's beginning and end, of about ``budget`` characters together.

    A quarter goes to the beginning: what a reader looks for is mostly at the end.

    Args:
        budget: Characters to keep.
        longest: Characters to keep of one line.

    """

    #: What a line costs beside its text, in the page.
    _OVERHEAD = 40

    def __init__(self, budget: int, longest: int = 2_000) -> None:
        self._longest = longest
        self._head: list[LogLine] = []
        self._head_left = budget // 4
        self._tail: deque[LogLine] = deque()
        self._tail_left = budget - self._head_left
        self.cut = 0

    def add(self, order: int, received: float, text: str) -> None:
        """Add the next line."""
        if len(text) > self._longest:
            text = f"{text[: self._longest]} … ({len(text)} characters)"
        line, cost = LogLine(order, received, text), len(text) + self._OVERHEAD
        if not self._tail and cost <= self._head_left:
            self._head.append(line)
            self._head_left -= cost
            return
        self._tail.append(line)
        self._tail_left -= cost
        self._trim()

    def within(self, budget: int) -> LogEnds:
        """Give the same log, of about ``budget`` characters only."""
        smaller = LogEnds(budget, self._longest)
        for line in self._head:
            smaller.add(line.order, line.received, line.text)
        if self.cut:  # what is left out stays where it was
            smaller._head_left = 0
        for line in self._tail:
            smaller.add(line.order, line.received, line.text)
        smaller.cut += self.cut
        return smaller

    def lines(self) -> tuple[list[LogLine], list[LogLine]]:
        """Give what is kept: the beginning, and the end."""
        return self._head, list(self._tail)

    def _trim(self) -> None:
        while self._tail_left < 0 and len(self._tail) > 1:
            gone = self._tail.popleft()
            self._tail_left += len(gone.text) + self._OVERHEAD
            self.cut += 1


def _y(point: Point) -> float:
    return point[1]


def _together(one: Mark, other: Mark) -> Mark:
    early = min(one, other, key=lambda mark: mark.first)
    return Mark(early.first, max(one.last, other.last), one.count + other.count, early.text)
