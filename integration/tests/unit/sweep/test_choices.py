"""What protein makes of parameters whose values are a list."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metta_sandbox.scenario.search import Sweep
from metta_sandbox.sweep import Observation, create

Overrides = Mapping[str, Any]
Names = Literal["protein", "random", "grid"]

LR = {"distribution": "log_normal", "min": 0.01, "max": 0.5, "mean": 0.1}
SEEDS = st.integers(0, 2**63)
VALUES = st.lists(
    st.one_of(
        st.booleans(),
        st.integers(-9, 9),
        st.floats(-9, 9),
        st.text(max_size=3),
        st.lists(st.integers(0, 3), max_size=2),
    ),
    min_size=1,
    max_size=5,
    unique_by=repr,
)


def played(
    parameters: Mapping[str, object],
    play: Callable[[Overrides], float | None],
    seed: int,
    trials: int,
    strategy: Names = "protein",
) -> list[Overrides]:
    sweep = Sweep.model_validate({"strategy": strategy, "parameters": parameters})
    search, found = create(sweep, seed), []
    for _ in range(trials):
        at = search.suggest().overrides
        score = play(at)
        search.observe(Observation(at, score, 1.0, failed=score is None))
        found.append(at)
    return found


def tried(found: list[Overrides], key: str) -> Counter[str]:
    return Counter(repr(at[key]) for at in found)


@settings(max_examples=40, deadline=None)
@given(SEEDS, VALUES, VALUES, st.integers(0, 5), st.booleans())
def test_each_value_is_tried_before_any_has_a_second_turn(
    seed: int, some: list[object], others: list[object], fails: int, ranged: bool
) -> None:
    # To Python 1, 1.0 and true are one.
    some, others = (
        [one for n, one in enumerate(each) if one not in each[:n]] for each in (some, others)
    )
    parameters = {"a": {"values": some}, "b": {"values": others}} | ({"lr": LR} if ranged else {})

    def play(at: Overrides) -> float | None:
        return None if some.index(at["a"]) == fails else float(others.index(at["b"]))

    found = played(parameters, play, seed, max(len(some), len(others)))
    for key, values in (("a", some), ("b", others)):
        assert [values.index(at[key]) for at in found[:1]] == [len(values) // 2]
        assert set(tried(found[: len(values)], key)) == set(map(repr, values))


@pytest.mark.parametrize("seed", range(5))
def test_twelve_trials_find_the_best_of_three_choices(seed: int) -> None:
    """The best is neither where the search begins nor beside it, and wants a rate of its own."""

    def play(at: Overrides) -> float:
        score: float = -((math.log10(at["lr"] / 0.05)) ** 2) * 0.3 - 1 / at["epochs"]
        return score

    found = played({"lr": LR, "epochs": {"values": [5, 10, 20]}}, play, seed, 12)
    assert (found[0]["lr"], found[0]["epochs"]) == (pytest.approx(0.1), 10)
    counts = tried(found, "epochs")
    assert set(counts) == {"5", "10", "20"}
    assert counts["20"] >= 4


@pytest.mark.parametrize("where", range(4))
def test_a_name_s_place_in_the_list_does_not_matter(where: int) -> None:
    kinds = ["adam", "lion", "muon", "sgd"]

    def play(at: Overrides) -> float:
        return float(at["kind"] == kinds[where]) - 0.1 * math.log10(at["lr"] / 0.05) ** 2

    late = [
        played({"lr": LR, "kind": {"values": kinds}}, play, seed, 10)[-1]["kind"]
        for seed in range(4)
    ]
    assert late.count(kinds[where]) >= 3


def test_a_choice_that_always_fails_is_left_alone() -> None:
    def play(at: Overrides) -> float | None:
        return None if at["kind"] == "broken" else math.log10(at["lr"])

    for seed in range(3):
        found = played({"lr": LR, "kind": {"values": ["a", "b", "broken"]}}, play, seed, 12)
        assert tried(found, "kind")["'broken'"] <= 3


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.integers(0, 6))
def test_a_search_over_choices_goes_on_from_its_observations(seed: int, stop: int) -> None:
    parameters = {"lr": LR, "kind": {"values": ["a", "b", "c"]}, "deep": {"values": [1, 2, 4, 8]}}

    def play(at: Overrides) -> float:
        score: float = math.log10(at["lr"]) + at["deep"] * (at["kind"] == "c")
        return score

    whole = played(parameters, play, seed, stop + 1)
    assert played(parameters, play, seed, stop + 1) == whole
    search = create(Sweep.model_validate({"parameters": parameters}), seed)
    for at in whole[:stop]:
        search.observe(Observation(at, play(at), 1.0))
    assert search.suggest().overrides == whole[stop]


def test_two_seeds_take_the_turns_in_different_orders() -> None:
    values = {"kind": {"values": list("abcdefgh")}}
    orders = {
        "".join(at["kind"] for at in played(values, lambda _: 1.0, seed, 8)) for seed in range(4)
    }
    assert len(orders) == 4
    assert all(sorted(order) == list("abcdefgh") for order in orders)


@settings(max_examples=30, deadline=None)
@given(SEEDS, VALUES)
def test_chance_and_a_grid_take_values_of_any_kind(seed: int, values: list[object]) -> None:
    parameters = {"a": {"values": values}}
    grid = played(parameters, lambda _: 1.0, seed, len(values), "grid")
    assert [at["a"] for at in grid] == values
    chance = played(parameters, lambda _: 1.0, seed, 20, "random")
    assert all(at["a"] in values for at in chance)


def test_chance_draws_each_value_about_equally_often() -> None:
    values = {"a": {"values": ["x", "y", "z"]}}
    counts = tried(played(values, lambda _: 1.0, 7, 600, "random"), "a")
    assert all(150 < counts[repr(value)] < 250 for value in "xyz")
