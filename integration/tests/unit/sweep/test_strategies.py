"""What protein, random and grid suggest."""

import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metta_sandbox.scenario.search import Sweep
from metta_sandbox.scenario.values import Value
from metta_sandbox.sweep import ExhaustedError, Observation, Strategy, create
from metta_sandbox.sweep.protein import Protein, pareto_front
from metta_sandbox.sweep.space import Space

Overrides = Mapping[str, Any]
Names = Literal["protein", "random", "grid"]


def uniform(low: float, high: float, **more: object) -> dict[str, object]:
    return {"distribution": "uniform", "min": low, "max": high, **more}


def log(low: float, high: float, **more: object) -> dict[str, object]:
    return {"distribution": "log_normal", "min": low, "max": high, **more}


BOWL = {
    "rate": log(1e-5, 1e-1, mean=1e-4),
    "clip": uniform(0, 1),
    "batch": {"distribution": "uniform_pow2", "min": 16, "max": 1024},
}
WAVES = {"a": uniform(-2, 2, mean=1.0), "b": uniform(-2, 2)}
CURVE = {
    "rate": log(1e-5, 1e-1),
    "steps": log(1e4, 1e6, mean=1e5),
    "gamma": {"distribution": "logit_normal", "min": 0.8, "max": 0.9999, "mean": 0.9},
}
MIXED = {
    **BOWL,
    "kind": {"values": ["a", "b", "c"]},
    "epochs": {**uniform(1, 4), "distribution": "int_uniform"},
}


def bowl(at: Overrides) -> tuple[float, float]:
    rate, clip, batch = (
        (math.log10(at["rate"]) + 2.2) / 2,
        at["clip"] - 0.25,
        math.log2(at["batch"]) - 7,
    )
    return -(rate**2) - 4 * clip**2 - batch**2 / 30, 10.0 * at["batch"]


def waves(at: Overrides) -> tuple[float, float]:
    a, b = at["a"], at["b"]
    return math.cos(5 * a) * math.cos(3 * b) - 0.3 * (a * a + b * b), math.exp(a + b)


def curve(at: Overrides) -> tuple[float, float]:
    rate, gamma = (math.log10(at["rate"]) + 3.3) / 1.5, 1 - at["gamma"] - 0.02
    gain = math.exp(-(rate**2) - 800 * gamma**2)
    return gain * (1 - math.exp(-at["steps"] / 3e5)), at["steps"]


def sweep(strategy: Names, parameters: Mapping[str, object], **more: object) -> Sweep:
    return Sweep.model_validate({"strategy": strategy, "parameters": parameters, **more})


def best_for(
    strategy: Names,
    parameters: Mapping[str, object],
    play: Callable[[Overrides], tuple[float, float]],
    seed: int,
    budget: float,
) -> float:
    """Search until a budget is spent, forty trials at most, and return the best score."""
    search, best, spent = create(sweep(strategy, parameters), seed), -math.inf, 0.0
    for _ in range(40):
        at = search.suggest().overrides
        score, cost = play(at)
        spent += cost
        if spent > budget:
            break
        best = max(best, score)
        search.observe(Observation(at, score, cost))
    return best


@pytest.mark.parametrize(
    ("parameters", "play", "budget"),
    [(BOWL, bowl, 50_000), (WAVES, waves, 60), (CURVE, curve, 3e6)],
    ids=["bowl", "waves", "curve"],
)
def test_protein_finds_more_than_chance_for_the_same_cost(
    parameters: Mapping[str, object],
    play: Callable[[Overrides], tuple[float, float]],
    budget: float,
) -> None:
    seeds = range(4)
    found = [best_for("protein", parameters, play, seed, budget) for seed in seeds]
    chance = [best_for("random", parameters, play, seed, budget) for seed in seeds]
    assert np.mean(found) > np.mean(chance)


def observed(trials: int, failing: bool = False) -> list[Observation]:
    """Make observations of the mixed space, some of them failures."""
    source, space = np.random.default_rng(7), Space.of(sweep("random", MIXED).parameters)
    found = []
    for trial in range(trials):
        at = space.from_unit(source.random(len(MIXED)).tolist())
        failed = failing or trial % 4 == 3
        score, cost = bowl(at)
        found.append(Observation(at, None if failed else score, cost, failed))
    return found


@pytest.mark.parametrize("strategy", ["protein", "random"])
def test_a_search_resumed_from_its_observations_goes_on_as_it_would_have(strategy: Names) -> None:
    whole = create(sweep(strategy, MIXED), seed=3)
    seen = []
    for trial in range(9):
        at = whole.suggest().overrides
        assert whole.suggest().overrides == at  # asking twice changes nothing
        score, cost = bowl(at)
        seen.append(Observation(at, None if trial == 2 else score, cost, failed=trial == 2))
        whole.observe(seen[-1])
    for stop in (0, 1, 3, 8):
        resumed = create(sweep(strategy, MIXED), seed=3)
        for observation in seen[:stop]:
            resumed.observe(observation)
        assert resumed.suggest().overrides == seen[stop].overrides


@pytest.mark.parametrize("strategy", ["protein", "random"])
def test_another_seed_is_another_search(strategy: Names) -> None:
    def third(seed: int) -> Mapping[str, Value]:
        search = create(sweep(strategy, MIXED), seed)
        for observation in observed(2):
            search.observe(observation)
        return search.suggest().overrides

    assert third(1) == third(1)
    assert third(1) != third(2)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.booleans())
def test_suggestions_are_within_bounds(seed: int, trials: int, failing: bool) -> None:
    spec = sweep("protein", MIXED)
    search = create(spec, seed)
    for observation in observed(trials, failing):
        search.observe(observation)
    at = search.suggest().overrides
    assert list(at) == list(MIXED)
    assert all(0 <= place <= 1 for place in Space.of(spec.parameters).to_unit(at))
    assert at["kind"] in {"a", "b", "c"}
    assert isinstance(at["batch"], int)


def test_the_first_suggestion_is_the_search_centre() -> None:
    at = create(sweep("protein", MIXED), seed=5).suggest().overrides
    middle = {"clip": 0.5, "batch": 128, "kind": "b", "epochs": 3}
    assert at == {"rate": pytest.approx(1e-4), **middle}


def scored(search: Strategy, places: list[tuple[float, float, float]]) -> None:
    for x, score, cost in places:
        search.observe(Observation({"x": x}, score, cost))


def test_goal_minimize_turns_the_search_round() -> None:
    places = [(x / 10, x / 10, 1.0) for x in range(11)]
    for goal, wanted in (("maximize", range(8, 11)), ("minimize", range(3))):
        search = create(sweep("protein", {"x": uniform(0, 1, scale=0.3)}, goal=goal), seed=0)
        scored(search, places)
        assert round(float(search.suggest().overrides["x"]) * 10) in wanted  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
def test_nothing_beyond_the_cost_cap_is_suggested(seed: int) -> None:
    places = [(x / 10, x / 10, math.exp(5 * x / 10)) for x in range(11)]
    search = create(sweep("protein", {"x": uniform(0, 1, scale=1)}, max_cost=math.exp(2.5)), seed)
    scored(search, places)
    assert float(search.suggest().overrides["x"]) < 0.55  # type: ignore[arg-type]
    # If all is too dear, the cheapest within reach is tried.
    broke = create(sweep("protein", {"x": uniform(0, 1, scale=1)}, max_cost=0.01), seed)
    scored(broke, places)
    assert float(broke.suggest().overrides["x"]) < 0.1  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
def test_where_trials_failed_is_avoided(seed: int) -> None:
    search = create(sweep("protein", {"x": uniform(0, 1, scale=1)}), seed)
    scored(search, [(0.3, 0.5, 1.0), (0.5, 1.0, 1.0)])
    for x in (0.55, 0.6, 0.7, 0.8):
        search.observe(Observation({"x": x}, None, 0.0, failed=True))
    assert float(search.suggest().overrides["x"]) < 0.55  # type: ignore[arg-type]


def test_if_nothing_worked_it_looks_elsewhere() -> None:
    search = create(sweep("protein", {"x": uniform(0, 1)}), seed=0)
    search.observe(Observation({"x": 0.5}, None, 0.0, failed=True))
    assert abs(float(search.suggest().overrides["x"]) - 0.5) > 0.2  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "places",
    [
        [(0.5, 1.0, 1.0)],
        [(0.5, 1.0, 1.0)] * 5,
        [(0.5, 1.0, 1.0), (0.5, 2.0, 1.0)],
        [(x / 5, 0.0, 1.0) for x in range(5)],
        [(x / 5, 1e-300 * x, 1e-300) for x in range(5)],
        [(x / 5, 1e300 * x, 1e300) for x in range(5)],
        [(0.5, 1.0, 1.0), (7.0, 2.0, 1.0)],
    ],
    ids=["one", "same", "same place", "equal", "tiny", "huge", "out of bounds"],
)
def test_awkward_observations_are_no_trouble(places: list[tuple[float, float, float]]) -> None:
    search = create(sweep("protein", {"x": uniform(0, 1)}), seed=0)
    scored(search, places)
    assert 0 <= float(search.suggest().overrides["x"]) <= 1  # type: ignore[arg-type]


def test_many_observations_are_no_trouble() -> None:
    search = Protein(sweep("protein", {"x": uniform(0, 1)}), seed=0)
    scored(search, [(x / 600, x / 600, 1.0 + x) for x in range(600)])
    assert 0 <= float(search.suggest().overrides["x"]) <= 1  # type: ignore[arg-type]


def test_an_empty_space_is_no_trouble() -> None:
    for strategy in ("protein", "random", "grid"):
        assert create(sweep(strategy, {}), 0).suggest().overrides == {}


@pytest.mark.parametrize(
    ("score", "cost", "failed"),
    [
        (math.nan, 1.0, False),
        (math.inf, 1.0, False),
        (1.0, math.nan, False),
        (1.0, -1.0, False),
        (1.0, 0.0, False),
        (None, 1.0, False),
        (math.nan, 1.0, True),
    ],
)
def test_senseless_observations_are_refused(score: float | None, cost: float, failed: bool) -> None:
    with pytest.raises(ValueError, match=r"score|cost"):
        Observation({}, score, cost, failed)


def test_the_pareto_front_is_what_nothing_beats() -> None:
    scores = np.array([1.0, 3.0, 2.0, 3.0, 0.5, 3.0])
    costs = np.array([1.0, 3.0, 2.0, 4.0, 1.5, 3.0])
    assert pareto_front(scores, costs).tolist() == [0, 2, 1]


def test_a_grid_takes_every_combination_in_order_and_ends() -> None:
    parameters = {"a": {"values": [1, 2]}, "b": {"values": ["x", "y", "z"]}}
    search = create(sweep("grid", parameters), seed=0)
    found = []
    for _ in range(6):
        at = search.suggest().overrides
        assert list(at) == ["a", "b"]
        found.append((at["a"], at["b"]))
        search.observe(Observation(at, 0.0, 1.0))
    with pytest.raises(ExhaustedError, match="6 combinations"):
        search.suggest()
    assert found == [(a, b) for a in (1, 2) for b in "xyz"]


def test_only_protein_s_second_suggestion_imports_the_gaussian_process() -> None:
    code = (
        "import sys; from metta_sandbox.scenario.search import Sweep;"
        "from metta_sandbox.sweep import Observation, create;"
        "[create(Sweep(strategy=name), 0).suggest() for name in ('random', 'grid')];"
        "print('sklearn' in sys.modules, 'numpy' in sys.modules);"
        "axis = {'lr': {'distribution': 'uniform', 'min': 0.1, 'max': 1}};"
        "search = create(Sweep(strategy='protein', parameters=axis), 0);"
        "first = search.suggest().overrides; print('sklearn' in sys.modules);"
        "search.observe(Observation(first, 1.0, 1.0)); search.suggest();"
        "print('sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "False", "True"]
