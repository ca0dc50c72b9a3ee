"""What Optuna, W&B's engine and a class of the user's suggest, and when they end a trial early."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from metta_sandbox.errors import InputError
from metta_sandbox.scenario.search import STRATEGIES, Sweep
from metta_sandbox.sweep import ExhaustedError, Observation, Pruning, Strategy, create

PARAMETERS = {
    "lr": {"distribution": "log_normal", "min": 1e-4, "max": 1e-2},
    "size": {"distribution": "uniform_pow2", "min": 16, "max": 256},
    "optimizer": {"values": ["adam", "sgd", "lion"]},
}
HYPERBAND = {"type": "hyperband", "min_iter": 1}
CASES: list[tuple[str, Mapping[str, Any]]] = [
    *(("optuna", {"sampler": name}) for name in STRATEGIES["optuna"]["sampler"] or ()),
    ("optuna", {"sampler": {"TPESampler": {"n_startup_trials": 2}}}),
    ("wandb", {}),
    ("wandb", {"method": "random", "early_terminate": HYPERBAND}),
]


def sweep(strategy: str, options: Mapping[str, Any], **more: object) -> Sweep:
    told = {"parameters": PARAMETERS, "strategy": strategy, "options": options, **more}
    return Sweep.model_validate(told)


def play(search: Strategy, trials: int) -> list[Observation]:
    """Have a size of 64 under sgd score best."""
    seen = []
    for _ in range(trials):
        at = search.suggest().overrides
        score = -abs(float(at["size"]) - 64) - (at["optimizer"] != "sgd")  # type: ignore[arg-type]
        seen.append(Observation(at, score, 1.0))
        search.observe(seen[-1])
    return seen


@pytest.mark.parametrize(("strategy", "options"), CASES)
def test_suggestions_are_repeatable_and_go_on_when_resumed(
    strategy: str, options: Mapping[str, Any]
) -> None:
    whole = create(sweep(strategy, options), 3)
    assert whole.suggest() == whole.suggest()
    seen = play(whole, 4)
    for observation in seen:
        assert 1e-4 <= float(observation.overrides["lr"]) <= 1e-2  # type: ignore[arg-type]
        assert observation.overrides["size"] in (16, 32, 64, 128, 256)
        assert observation.overrides["optimizer"] in ("adam", "sgd", "lion")
    again = create(sweep(strategy, options), 3)
    assert play(again, 4) == seen
    resumed = create(sweep(strategy, options), 3)
    for observation in seen:
        resumed.observe(observation)
    # These keep what they know with the trials that they have asked.
    forgets = any(name in str(options) for name in ("CmaEs", "NSGA"))
    assert forgets or resumed.suggest() == whole.suggest()


@pytest.mark.parametrize(("strategy", "options"), [("optuna", {}), ("wandb", {})])
def test_a_failed_trial_counts_as_one(strategy: str, options: Mapping[str, Any]) -> None:
    search = create(sweep(strategy, options), 0)
    first = search.suggest().overrides
    search.observe(Observation(first, None, 0.0, failed=True))
    assert search.suggest().overrides != first


def test_wandbs_grid_ends() -> None:
    told = {"strategy": "wandb", "options": {"method": "grid"}}
    search = create(Sweep.model_validate({**told, "parameters": {"x": {"values": [1, 2]}}}), 0)
    for value in (1, 2):
        assert search.suggest().overrides == {"x": value}
        search.observe(Observation({"x": value}, 1.0, 1.0))
    with pytest.raises(ExhaustedError):
        search.suggest()


@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        ("optuna", {"pruner": {"MedianPruner": {"n_startup_trials": 1, "n_warmup_steps": 1}}}),
        ("wandb", {"method": "random", "early_terminate": {**HYPERBAND, "min_iter": 2}}),
    ],
)
def test_a_worse_trial_is_ended_early(strategy: str, options: Mapping[str, Any]) -> None:
    search = create(sweep(strategy, options, goal="maximize"), 0)
    assert isinstance(search, Pruning)
    at = search.suggest().overrides
    assert not any(search.prunes(step, float(step)) for step in range(6))
    search.observe(Observation(at, 5.0, 1.0))
    search.suggest()
    told = [search.prunes(step, -5.0) for step in range(6)]
    assert any(told)
    assert not told[0]


@pytest.mark.parametrize(
    ("told", "where", "words"),
    [
        ({"strategy": "optunna"}, "strategy", "did you mean optuna?"),
        ({"strategy": "a.b"}, "strategy", "or module:Class"),
        ({"strategy": "grid", "options": {"sampler": "x"}}, "options", "it takes none"),
        (
            {"strategy": "optuna", "options": {"sampler": "TPESampeler"}},
            "options",
            "did you mean TPESampler?",
        ),
        ({"strategy": "wandb", "options": {"methd": "x"}}, "options", "takes method"),
        (
            {"strategy": "wandb", "options": {"method": "grid"}, "parameters": PARAMETERS},
            "parameters",
            "a grid can't enumerate lr's range",
        ),
    ],
)
def test_a_wrong_word_is_named(told: Mapping[str, Any], where: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Sweep.model_validate(told)
    assert caught.value.errors()[0]["loc"] == (where,)
    assert words in str(caught.value)


def test_arguments_that_optuna_refuses_are_told() -> None:
    with pytest.raises(InputError, match=r"sweep\.options\.pruner: .* refuses ThresholdPruner"):
        create(sweep("optuna", {"pruner": {"ThresholdPruner": {"lowest": 1}}}), 0)


OWN = """
    options_more = {}
    class Search:
        def __init__(self, parameters, goal, metric, trials, seed, options):
            self.left = options["points"]
            self.ends = options.get("ends", 9)
        def suggest(self):
            return {"lr": self.left.pop(0), **options_more} if self.left else None
        def observe(self, overrides, score, cost, failed):
            assert overrides["lr"] and not failed and score == 2.0 and cost == 1.0
        def prunes(self, step, score):
            return step >= self.ends
"""


def own(folder: Path, text: str, options: Mapping[str, Any]) -> Strategy:
    name = f"search_{folder.name}"
    (folder / f"{name}.py").write_text(textwrap.dedent(text))
    told = {"strategy": f"{name}:Search", "options": options}
    spec = {"lr": {"distribution": "uniform", "min": 0, "max": 1}}
    return create(Sweep.model_validate({**told, "parameters": spec}), 0, folder)


def test_a_class_of_the_users_is_asked(tmp_path: Path) -> None:
    search = own(tmp_path, OWN, {"points": [0.1, 0.2], "ends": 3})
    for value in (0.1, 0.2):
        assert search.suggest() == search.suggest()
        assert search.suggest().overrides["lr"] == value
        assert isinstance(search, Pruning)
        assert [search.prunes(step, 0.0) for step in (2, 3)] == [False, True]
        search.observe(Observation({"lr": value}, 2.0, 1.0))
    with pytest.raises(ExhaustedError):
        search.suggest()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1", "AttributeError"),
        ("import nothing_of_this_name", "No module named 'nothing_of_this_name'"),
        ("class Search:\n    def __init__(self, **_): pass", "no method suggest"),
        ("class Search:\n    def __init__(self): pass", "unexpected keyword"),
    ],
)
def test_a_class_that_cant_be_used_is_told(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        own(tmp_path, text, {})


@pytest.mark.parametrize("at", ["import", "__init__", "suggest", "observe", "prunes"])
def test_a_class_that_ends_the_program_is_told(tmp_path: Path, at: str) -> None:
    ends = "import sys; sys.exit(0)"
    places = {
        "import": ("options_more = {}", f"{ends}; options_more = {{}}"),
        "__init__": ("self.left = options", f"{ends}; self.left = options"),
        "suggest": ("return {", f"{ends}; return {{"),
        "observe": ("assert overrides", f"{ends}; assert overrides"),
        "prunes": ("return step", f"{ends}; return step"),
    }

    def plays() -> None:
        search = own(tmp_path, OWN.replace(*places[at]), {"points": [0.1]})
        search.suggest()
        assert isinstance(search, Pruning)
        search.prunes(1, 0.0)
        search.observe(Observation({"lr": 0.1}, 2.0, 1.0))

    with pytest.raises(InputError, match="ended the program, with status 0"):
        plays()


@pytest.mark.parametrize(
    ("point", "words"),
    [("7", "of the type int; expected a dict"), ("{'lr': 0.5, 3: 1}", "gave 3, which is not")],
)
def test_a_suggestion_that_is_none_is_told(tmp_path: Path, point: str, words: str) -> None:
    text = OWN.replace('{"lr": self.left.pop(0), **options_more}', point)
    with pytest.raises(InputError, match=words):
        own(tmp_path, text, {"points": [1]}).suggest()


def test_a_suggestion_that_lacks_a_key_is_told(tmp_path: Path) -> None:
    text = OWN.replace('"lr": self.left.pop(0), ', "")
    with pytest.raises(InputError, match="gave no value for lr"):
        own(tmp_path, text, {"points": [1]}).suggest()


@pytest.mark.parametrize(
    ("point", "words"),
    [(2.5, "lr 2.5, outside its bounds"), ("'x'", "lr 'x', outside its bounds")],
)
def test_a_suggestion_out_of_bounds_is_told(tmp_path: Path, point: object, words: str) -> None:
    text = OWN.replace("self.left.pop(0)", str(point))
    with pytest.raises(InputError, match=words):
        own(tmp_path, text, {"points": [1]}).suggest()


def test_a_suggestion_of_what_is_not_searched_is_told(tmp_path: Path) -> None:
    text = OWN.replace("options_more = {}", "options_more = {'more': 1}")
    with pytest.raises(InputError, match="gave more, which is not searched"):
        own(tmp_path, text, {"points": [0.5]}).suggest()
