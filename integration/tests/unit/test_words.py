"""Counts, sizes and times as people read them."""

import pytest

from metta_sandbox import words
from metta_sandbox.scenario.expect.bounds import Bounds


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (2_100_000_000, "2.1 GB"),
        (900 * 10**12, "900 TB"),
        (2 * 10**15, "2000 TB"),
    ],
)
def test_a_size_is_in_the_largest_unit_it_fills(number: int, said: str) -> None:
    assert words.size(number) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.001, "1 ms"), (0.1 + 0.2, "300 ms"), (1.0, "1 s"), (2.5, "2.5 s")]
)
def test_a_time_below_a_second_is_in_milliseconds(seconds: float, said: str) -> None:
    assert words.time(seconds) == said


@pytest.mark.parametrize(
    ("bounds", "calls", "often"),
    [
        (Bounds(equals=1), "exactly 1 call", "exactly once"),
        (Bounds(equals=0), "exactly 0 calls", "exactly 0 times"),
        (Bounds(equals=11), "exactly 11 calls", "exactly 11 times"),
        (Bounds(at_least=1), "at least 1 call", "at least once"),
        (Bounds(at_least=2, at_most=1 + 1), "at least 2 and at most 2 calls", None),
        (Bounds(at_least=1, at_most=3), "at least 1 and at most 3 calls", None),
    ],
)
def test_bounds_agree_with_what_is_counted(bounds: Bounds, calls: str, often: str | None) -> None:
    assert bounds.of("call") == calls
    assert often is None or bounds.often == often
    assert words.many(1, "node") == "1 node"
