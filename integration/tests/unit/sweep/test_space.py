"""Parameters as axes of the unit cube."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metta_sandbox.scenario.search import Choice, Distribution, Range
from metta_sandbox.sweep.space import Space

UNIT = st.floats(0, 1)
BOUNDS: dict[Distribution, st.SearchStrategy[float]] = {
    "uniform": st.floats(-1e6, 1e6),
    "int_uniform": st.integers(-(10**6), 10**6).map(float),
    "uniform_pow2": st.integers(0, 30).map(lambda power: 2.0**power),
    "log_normal": st.floats(-30, 30).map(math.exp),
    "logit_normal": st.floats(-20, -1e-3).map(lambda power: -math.expm1(power)),
}


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    distribution = draw(st.sampled_from(sorted(BOUNDS)))
    low, high = sorted(draw(st.tuples(BOUNDS[distribution], BOUNDS[distribution])))
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        low, high = (1, 4) if distribution != "logit_normal" else (0.0, 0.5)
    return Range(distribution=distribution, min=low, max=high)


def axis(**spec: object) -> Space:
    return Space.of({"x": Range.model_validate(spec)})


@given(ranges(), UNIT)
def test_a_place_names_a_value_within_bounds_that_is_placed_where_it_was(
    spec: Range, place: float
) -> None:
    space = Space.of({"x": spec})
    value = space.from_unit([place])["x"]
    assert isinstance(value, int if spec.distribution in {"int_uniform", "uniform_pow2"} else float)
    assert spec.min <= value <= spec.max
    (back,) = space.to_unit({"x": value})
    assert 0 <= back <= 1
    again = space.from_unit([back])["x"]
    assert again == (value if isinstance(value, int) else pytest.approx(value, rel=1e-9, abs=1e-9))


@given(ranges(), st.floats(-3, 4))
def test_places_outside_count_as_the_nearer_end(spec: Range, place: float) -> None:
    space = Space.of({"x": spec})
    clipped = min(max(place, 0), 1)
    assert space.from_unit([place]) == space.from_unit([clipped])
    assert space.from_unit([0]) == {"x": spec.min}
    assert space.from_unit([1]) == {"x": spec.max}


@given(ranges(), UNIT, UNIT)
def test_values_grow_with_their_place(spec: Range, one: float, other: float) -> None:
    space = Space.of({"x": spec})
    low, high = sorted([one, other])
    assert space.from_unit([low])["x"] <= space.from_unit([high])["x"]  # type: ignore[operator]


@given(st.lists(st.integers() | st.text() | st.booleans(), min_size=1, unique_by=repr), UNIT)
def test_listed_values_round_trip(values: list[int | str | bool], place: float) -> None:
    space = Space.of({"x": Choice(values=tuple(values))})
    for value in values:
        assert repr(space.from_unit(space.to_unit({"x": value}))["x"]) == repr(value)
    assert space.from_unit([place])["x"] in values


@pytest.mark.parametrize(
    ("spec", "middle"),
    [
        ({"distribution": "uniform", "min": 1.0, "max": 3.0}, 2.0),
        ({"distribution": "log_normal", "min": 1e-4, "max": 1e-2}, 1e-3),
        ({"distribution": "logit_normal", "min": 0.9, "max": 0.999}, 0.99),
        ({"distribution": "uniform_pow2", "min": 16, "max": 64}, 32),
        ({"distribution": "int_uniform", "min": 1, "max": 3}, 2),
    ],
)
def test_the_middle_is_that_of_the_distribution(spec: dict[str, object], middle: float) -> None:
    space = axis(**spec)
    assert space.centre == [0.5]
    assert space.from_unit([0.5])["x"] == pytest.approx(middle)


def test_mean_is_the_centre_and_scale_twice_the_radius() -> None:
    log = {"distribution": "log_normal", "min": 1e-4, "max": 1e-2}
    space = axis(**log, mean=1e-3 * math.sqrt(10), scale=1.0)
    assert space.centre == [pytest.approx(0.75)]
    assert space.radii == [0.5]
    assert axis(**log).radii == [0.25]
    # Sixteenfold is four doublings; half a doubling is an eighth of the axis.
    doublings = {"min": 1.0, "max": 16.0, "scale": "time"}
    assert axis(distribution="log_normal", **doublings).radii == [pytest.approx(1 / 8)]
    assert axis(distribution="uniform_pow2", **doublings).radii == [pytest.approx(1 / 8)]
    assert axis(distribution="logit_normal", min=0.0, max=0.75, scale="time").radii == [
        pytest.approx(1 / 4)
    ]


def test_whole_numbers_share_the_axis_equally() -> None:
    space = axis(distribution="int_uniform", min=1, max=4)
    drawn = [space.from_unit([(step + 0.5) / 400])["x"] for step in range(400)]
    assert [drawn.count(number) for number in (1, 2, 3, 4)] == [100, 100, 100, 100]


def test_what_cannot_be_placed_is_refused() -> None:
    space = Space.of(
        {
            "a": Range(distribution="uniform", min=0, max=1),
            "b": Choice(values=(1, True, "x")),
        }
    )
    assert space.to_unit({"a": 0.5, "b": True, "other": None}) == [0.5, 0.5]
    with pytest.raises(ValueError, match="no value for b"):
        space.to_unit({"a": 1})
    with pytest.raises(ValueError, match="'y' is none of 1, True, 'x'"):
        space.to_unit({"a": 1, "b": "y"})
    with pytest.raises(ValueError, match="expected a number"):
        space.to_unit({"a": "1", "b": 1})
