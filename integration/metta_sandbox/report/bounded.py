"""Bounded pictures of streams that may be of any length: curves, marks on a lane, logs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter

Point = tuple[float, float]
#: Seconds, of the finest bins that marks are counted in.
_FINEST = 0.001
_Y = itemgetter(1)


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
        self._buckets: list[tuple[Point, Point]] = []
        self._pending: list[Point] = []
        self._last: Point | None = None

    def add(self, x: float, y: float) -> None:
        """Add the next point. There are millions of them."""
        self._last = (x, y)
        self._pending.append(self._last)
        if len(self._pending) >= self._stride:
            self._buckets.append(_extremes(self._pending))
            self._pending = []
            if len(self._buckets) >= self._limit:
                self.shrink(self._limit - 1)

    def shrink(self, limit: int) -> None:
        """Join buckets until there are at most ``limit``, at least one."""
        while len(self._buckets) > max(limit, 1):
            if len(self._buckets) % 2:  # the last one is not full yet, at twice the width
                self._pending = [*self._buckets.pop(), *self._pending]
            halves = zip(self._buckets[::2], self._buckets[1::2], strict=True)
            self._buckets = [_extremes((*one, *other)) for one, other in halves]
            self._stride *= 2

    def points(self) -> list[Point]:
        """Give what is left of the curve, by x."""
        kept = {point for bucket in self._buckets for point in bucket}
        if self._pending:
            kept.update(_extremes(self._pending))
        if self._last is not None:
            kept.add(self._last)
        return sorted(kept)


@dataclass
class LaneMark:
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
        self._bins: dict[int, LaneMark] = {}

    def add(self, time: float, text: Callable[[], str]) -> None:
        """Add a mark. ``text`` is asked only of the first of those counted together."""
        index = int(time / self._width)
        there = self._bins.get(index)
        if there is None:
            self._bins[index] = LaneMark(time, time, 1, text())
            if len(self._bins) > self._limit:
                self.shrink(self._limit)
        else:
            there.count += 1
            there.first = min(there.first, time)
            there.last = max(there.last, time)

    def shrink(self, limit: int) -> None:
        """Count neighbours together until at most ``limit`` are left, at least one."""
        while len(self._bins) > max(limit, 1):
            self._width *= 2
            before, self._bins = sorted(self._bins.values(), key=lambda mark: mark.first), {}
            for mark in before:
                there = self._bins.setdefault(int(mark.first / self._width), mark)
                if there is not mark:
                    there.count += mark.count
                    there.last = max(there.last, mark.last)

    def __iter__(self) -> Iterator[LaneMark]:
        return iter(sorted(self._bins.values(), key=lambda mark: mark.first))


@dataclass(frozen=True)
class OrderedLine:
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
        self._head: list[OrderedLine] = []
        self._head_left = budget // 4
        self._tail: deque[OrderedLine] = deque()
        self._tail_left = budget - self._head_left
        self.cut = 0

    def add(self, order: int, received: float, text: str) -> None:
        """Add the log's next line."""
        if len(text) > self._longest:
            text = f"{text[: self._longest]} … ({len(text)} characters)"
        line, cost = OrderedLine(order, received, text), len(text) + self._OVERHEAD
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

    def lines(self) -> tuple[list[OrderedLine], list[OrderedLine]]:
        """Give what is kept: the beginning, and the end."""
        return self._head, list(self._tail)

    def _trim(self) -> None:
        while self._tail_left < 0 and len(self._tail) > 1:
            gone = self._tail.popleft()
            self._tail_left += len(gone.text) + self._OVERHEAD
            self.cut += 1


def _extremes(points: Sequence[Point]) -> tuple[Point, Point]:
    if len(points) == 1:
        return points[0], points[0]
    return min(points, key=_Y), max(points, key=_Y)
