from __future__ import annotations

from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from metta_sandbox.report.bounded import Curve, LogEnds, Marks


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400), st.integers(2, 20))
def test_a_curve_keeps_its_extremes_and_its_end_in_bounded_room(
    values: list[float], limit: int
) -> None:
    curve = Curve(limit)
    for step, value in enumerate(values):
        curve.add(step, value)
    points = curve.points()
    assert len(points) <= 2 * limit + 1
    assert points == sorted(points)
    assert set(points) <= set(enumerate(values))
    assert {min(values), max(values)} <= {y for _, y in points}
    assert points[-1] == (len(values) - 1, values[-1])


def test_a_short_curve_is_kept_whole() -> None:
    curve = Curve(300)
    for step in range(200):
        curve.add(step, step % 7)
    assert curve.points() == [(step, step % 7) for step in range(200)]


@given(st.lists(st.floats(0, 1e5), max_size=300), st.integers(1, 50))
def test_marks_lose_none_of_their_count(times: list[float], limit: int) -> None:
    marks = Marks(limit)
    for time in times:
        marks.add(time, partial(str, time))
    found = list(marks)
    assert len(found) <= limit
    assert sum(mark.count for mark in found) == len(times)
    if times:
        assert found[0].first == min(times)
        assert max(mark.last for mark in found) == max(times)


def test_marks_far_apart_stay_apart_and_ask_for_no_text_that_is_not_shown() -> None:
    marks = Marks(10)
    marks.add(1.0, lambda: "first")
    marks.add(1.0001, lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    marks.add(2.0, lambda: "second")
    assert [(mark.count, mark.text) for mark in marks] == [(2, "first"), (1, "second")]


def test_a_log_keeps_its_beginning_and_its_end() -> None:
    log = LogEnds(budget=10_000)
    for number in range(10_000):
        log.add(number, number / 10, f"line {number}")
    head, tail = log.lines()
    assert head[0].text == "line 0"
    assert tail[-1].text == "line 9999"
    assert [line.order for line in head] == list(range(len(head)))
    assert tail[0].order - head[-1].order - 1 == log.cut
    assert len(head) + len(tail) + log.cut == 10_000
    assert sum(len(line.text) for line in (*head, *tail)) < 10_000


def test_a_log_cut_again_counts_all_that_is_missing() -> None:
    log = LogEnds(budget=10_000)
    for number in range(1_000):
        log.add(number, 0, f"line {number}")
    smaller = log.within(2_000)
    head, tail = smaller.lines()
    assert len(head) + len(tail) + smaller.cut == 1_000
    assert (head[0].order, tail[-1].order) == (0, 999)


def test_a_log_that_fits_is_whole() -> None:
    log = LogEnds(budget=100_000).within(90_000)
    for number in range(100):
        log.add(number, 0, "x")
    assert log.cut == 0
    assert sum(map(len, log.lines())) == 100


def test_an_endless_line_is_cut_and_says_how_long_it_was() -> None:
    log = LogEnds(budget=100_000, longest=10)
    log.add(0, 0, "y" * 5_000_000)
    assert log.lines()[0][0].text == "yyyyyyyyyy … (5000000 characters)"
