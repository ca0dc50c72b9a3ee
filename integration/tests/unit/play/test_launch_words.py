"""One-off sweeps: a command line in Hydra's grammar becomes a scenario."""

from __future__ import annotations

from pathlib import Path

import pytest

from metta_sandbox.errors import InputError
from metta_sandbox.play.launch import part_flags, read_launch
from metta_sandbox.scenario.search import Choice, Range


def words(text: str) -> list[str]:
    return ["sweep", "run=test", *text.split()]


def test_the_habit() -> None:
    scenario = read_launch(
        words("trainer.total_timesteps=50 trainer.curriculum=arena/random +hardware=macbook"), 2
    )
    assert scenario.name == scenario.sweep.name == "test"
    assert scenario.nodes == 2
    assert scenario.hardware == "macbook"
    assert scenario.overrides == {
        "trainer.total_timesteps": 50,
        "trainer.curriculum": "arena/random",
    }
    assert list(scenario.search_space) == ["trainer.optimizer.learning_rate"]


def test_the_older_curriculum() -> None:
    older = "/env/mettagrid/curriculum/arena/random"
    scenario = read_launch(words(f"trainer.curriculum={older}"), 1)
    assert scenario.overrides == {"trainer.curriculum": older}


def test_operators() -> None:
    scenario = read_launch(
        words("+trainer.batch_size=64 ++trainer.bptt_horizon=8 ~trainer.ppo.gamma"), 2
    )
    assert scenario.overrides == {"trainer.batch_size": 64, "trainer.bptt_horizon": 8}


def test_the_sweep_is_set_too() -> None:
    scenario = read_launch(words("sweep.trials=5 sweep.strategy=random seed=7"), 2)
    assert scenario.sweep.trials == 5
    assert scenario.sweep.strategy == "random"
    assert scenario.seed == 7
    assert scenario.overrides == {}


@pytest.mark.parametrize(
    "text",
    [
        "sweep.parameters.trainer.ppo.gamma={distribution:uniform,min:0.9,max:0.99}",
        (
            "sweep.parameters.trainer.ppo.gamma.distribution=uniform "
            "sweep.parameters.trainer.ppo.gamma.min=0.9 sweep.parameters.trainer.ppo.gamma.max=0.99"
        ),
    ],
)
def test_searched_parameters_take_the_place_of_the_default(text: str) -> None:
    space = read_launch(words(text), 2).search_space
    assert list(space) == ["trainer.ppo.gamma"]
    searched = space["trainer.ppo.gamma"]
    assert isinstance(searched, Range)
    assert (searched.min, searched.max) == (0.9, 0.99)


def test_a_choice_is_searched() -> None:
    space = read_launch(words("sweep.parameters.trainer.batch_size.values=[64,128]"), 2)
    searched = space.search_space["trainer.batch_size"]
    assert isinstance(searched, Choice)
    assert list(searched.values) == [64, 128]


def test_one_launch_does_not_change_the_next() -> None:
    read_launch(words("~sweep.parameters.trainer.optimizer.learning_rate sweep.trials=1"), 2)
    assert "trainer.optimizer.learning_rate" in read_launch(words(""), 2).search_space


def test_all_faults_are_told_at_once_with_the_nearest() -> None:
    with pytest.raises(InputError) as caught:
        read_launch(words("trainer.batch_sise=1 sweep.trals=3 trainer.ppo.gamma=big ~no.such"), 2)
    said = str(caught.value)
    assert "trainer.batch_sise; did you mean trainer.batch_size?" in said
    assert "sweep.trals: unknown key; did you mean trials?" in said
    assert "trainer.ppo.gamma" in said
    assert "no.such" in said
    assert "workload" not in said, "a file that nobody wrote"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "begins with `sweep`"),
        (["train", "run=x"], "not 'train'"),
        (["sweep"], "run=NAME"),
        (["sweep", "rum=x"], "there is rum="),
        (["sweep", "run=3"], "run=NAME"),
        (["sweep", "run=x", "trainer.batch_size"], "expected trainer.batch_size=VALUE"),
        (["sweep", "run=x", "hardware=tpu"], "hardware"),
        (["sweep", "run=x", "sweep.parameters.trainer.ppo.gamma.min=0.9"], "trainer.ppo.gamma"),
    ],
)
def test_bad_words(given: list[str], said: str) -> None:
    with pytest.raises(InputError) as caught:
        read_launch(given, 2)
    assert said in str(caught.value)


def test_a_trainer_of_ones_own_takes_any_key() -> None:
    scenario = read_launch(words("model.depth=3"), 2, ["python", "train.py"])
    assert scenario.workload.trainer.command == ("python", "train.py")
    assert scenario.overrides == {"model.depth": 3}


def test_many_nodes_on_one_machine_may_take_longer() -> None:
    few, many = read_launch(words(""), 2), read_launch(words(""), 16)
    assert many.longest_silence - few.longest_silence == 140
    assert many.deadline > few.deadline


@pytest.mark.parametrize("flag", [["--config-name=mine"], ["--config-name", "mine"], ["-cn", "a"]])
def test_hydras_flags_are_the_trainers(flag: list[str]) -> None:
    given = [*words("model.depth=3"), *flag, "+db@pkg=mysql", "~sched=adam"]

    scenario = read_launch(given, 2, ["python", "train.py"])

    assert scenario.workload.trainer.command == ("python", "train.py", *flag)
    assert scenario.workload.trainer.overrides == {
        "model.depth": 3,
        "+db@pkg": "mysql",
        "~sched": "adam",
    }
    assert part_flags(given)[0] == (*words("model.depth=3"), "+db@pkg=mysql", "~sched=adam")


@pytest.mark.parametrize(
    ("flags", "trainer", "said"),
    [
        (["--config-name=x"], [], "the bundled trainer has no configs"),
        (["--node", "3"], ["python", "t.py"], "no such option: --node"),
        (["--config-name"], ["python", "t.py"], "needs a name"),
    ],
)
def test_other_flags_are_refused(flags: list[str], trainer: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_launch([*words(""), *flags], 2, trainer)


def test_requirements_are_those_of_the_trainer(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    scenario = read_launch(["sweep", "run=r"], 2, ["python", "t.py"], file)
    assert scenario.workload.requirements == str(file)


def test_the_bundled_trainer_needs_no_requirements(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the bundled trainer needs none"):
        read_launch(["sweep", "run=r"], 2, (), tmp_path / "requirements.txt")
