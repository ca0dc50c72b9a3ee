from __future__ import annotations

from metta_sandbox.autopsy.cause import Cause, WaitFor
from metta_sandbox.report.waits import picture


def cause(*edges: tuple[int, int | None], rank: int | None = 1) -> Cause:
    waits = tuple(
        WaitFor(rank=one, awaited=other, call="`barrier`, t.py:3") for one, other in edges
    )
    return Cause(kind="straggler", sentence="x", rank=rank, call="t.py:9", waits=waits)


def test_the_one_that_all_wait_for_stands_alone_on_the_right() -> None:
    drawn = picture(cause((0, 1), (2, 1)))
    assert drawn is not None
    (guilty,) = [box for box in drawn.boxes if box.guilty]
    assert (guilty.name, guilty.at) == ("rank 1", "t.py:9")
    assert all(box.x < guilty.x for box in drawn.boxes if box is not guilty)
    assert len(drawn.arrows) == 2


def test_a_circle_is_drawn_both_ways() -> None:
    drawn = picture(cause((0, 1), (1, 0)))
    assert drawn is not None
    assert len({arrow.path for arrow in drawn.arrows}) == 2


def test_nothing_is_drawn_where_nobody_is_known_to_wait_or_there_are_too_many() -> None:
    assert picture(cause((0, None))) is None
    assert picture(cause(*[(rank, 0) for rank in range(1, 40)])) is None
