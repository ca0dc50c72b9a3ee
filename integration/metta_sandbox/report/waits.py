"""A picture of who waits for whom: the ranks that wait on the left, and for whom on the right."""

from __future__ import annotations

from dataclasses import dataclass

from metta_sandbox.autopsy.cause import Cause

_WIDTH, _HEIGHT, _GAP, _BETWEEN, _EDGE = 300, 44, 12, 130, 60
#: More ranks than that make a picture that nobody reads.
_MOST = 16
_LONGEST = 40


@dataclass(frozen=True)
class Box:
    """A rank in the picture, in pixels; ``title`` is all of what ``at`` says in short."""

    x: int
    y: int
    name: str
    at: str
    title: str
    guilty: bool
    width: int = _WIDTH
    height: int = _HEIGHT


@dataclass(frozen=True)
class Arrow:
    """That one rank waits for another; ``title`` says how that is known."""

    path: str
    title: str


@dataclass(frozen=True)
class Picture:
    """The whole, and its size in pixels."""

    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    width: int
    height: int


def picture(cause: Cause) -> Picture | None:
    """Draw who waits for whom; None where nobody is seen to wait for another rank."""
    known = [edge for edge in cause.waits if edge.awaited is not None]
    edges = [(each.rank, each.awaited or 0, each.evidence) for each in known]
    ranks = sorted({rank for one, other, _ in edges for rank in (one, other)})
    if not edges or len(ranks) > _MOST:
        return None
    waiting = {edge.rank: edge.call for edge in known}
    right = [rank for rank in ranks if rank == cause.rank or rank not in waiting]
    columns = ([rank for rank in ranks if rank not in right], right)
    boxes = {
        rank: _box(cause, rank, waiting, column, row)
        for column, of_it in enumerate(columns)
        for row, rank in enumerate(of_it)
    }
    arrows = tuple(Arrow(_path(boxes[one], boxes[other]), why) for one, other, why in edges)
    rows = max(map(len, columns))
    width = 2 * _EDGE + 2 * _WIDTH + _BETWEEN
    return Picture(tuple(boxes.values()), arrows, width, rows * (_HEIGHT + _GAP) + _GAP)


def _box(cause: Cause, rank: int, waiting: dict[int, str], column: int, row: int) -> Box:
    guilty = rank == cause.rank
    at = (cause.call or cause.kind) if guilty else waiting.get(rank, "")
    short = at if len(at) <= _LONGEST else f"{at[:_LONGEST]}…"
    x = _EDGE + column * (_WIDTH + _BETWEEN)
    return Box(x, _GAP + row * (_HEIGHT + _GAP), f"rank {rank}", short, at, guilty)


def _path(one: Box, other: Box) -> str:
    y, to = one.y + one.height // 2, other.y + other.height // 2
    if one.x < other.x:
        start, end, bend = one.x + one.width, other.x, (one.x + one.width + other.x) // 2
        return f"M{start} {y}C{bend} {y} {bend} {to} {end} {to}"
    if one.x > other.x:
        start, end, bend = one.x, other.x + other.width, (one.x + other.x + other.width) // 2
        return f"M{start} {y}C{bend} {y} {bend} {to} {end} {to}"
    outside = one.x - _EDGE if one.x == _EDGE else one.x + one.width + _EDGE
    side = one.x if one.x == _EDGE else one.x + one.width
    return f"M{side} {y}C{outside} {y} {outside} {to} {side} {to}"
