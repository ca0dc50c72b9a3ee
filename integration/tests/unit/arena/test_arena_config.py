"""What the trainer is told: overrides in, one frozen configuration or a clear message out."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from metta_sandbox.errors import InputError
from metta_sandbox.node.arena.config import ArenaConfig, flatten, known_keys, parse_overrides
from metta_sandbox.node.arena.curriculum import CURRICULA


def test_no_overrides_are_the_defaults() -> None:
    assert parse_overrides([]) == ArenaConfig()


def test_every_kind_of_value_is_read() -> None:
    config = parse_overrides(
        [
            "run=demo.r.7",
            "seed=3",
            "+hardware=macbook",
            "trainer.total_timesteps=1e6",
            "trainer.batch_size=2048.0",
            "trainer.optimizer.learning_rate=5e-4",
            "trainer.ppo.clip_vloss=true",
            "trainer.resume=false",
        ]
    )
    assert (config.run, config.seed, config.hardware) == ("demo.r.7", 3, "macbook")
    assert config.trainer.total_timesteps == 1_000_000
    assert config.trainer.batch_size == 2048
    assert config.trainer.optimizer.learning_rate == 5e-4
    assert config.trainer.ppo.clip_vloss
    assert not config.trainer.resume


def test_a_run_may_be_named_like_a_number_and_quoted() -> None:
    assert parse_overrides(["run='007'"]).run == "007"
    assert parse_overrides(["run=1e3"]).run == "1e3"


def test_the_last_of_a_key_given_twice_counts() -> None:
    assert parse_overrides(["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize("name", CURRICULA)
def test_the_older_spelling_of_a_curriculum_is_taken(name: str) -> None:
    older = f"trainer.curriculum=/env/mettagrid/curriculum/{name}"
    assert parse_overrides([older]).trainer.curriculum == name


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("trainer.ppo.clip_coeff=0.1", "unknown key; did you mean trainer.ppo.clip_coef?"),
        ("trainer.learning_rate=1", "did you mean trainer.optimizer.learning_rate?"),
        ("total_timesteps=50", "did you mean trainer.total_timesteps?"),
        ("zzz=1", "zzz: unknown key"),
        ("trainer.ppo=1", "trainer.ppo: a group of keys"),
        ("seed", "'seed': not an override"),
        ("trainer.curriculum=arena/randon", "did you mean arena/random?"),
        ("trainer.curriculum=x", "there are arena/random, "),
        ("trainer.batch_size=many", "trainer.batch_size: Input should be a valid integer"),
        ("trainer.total_timesteps=0", "trainer.total_timesteps: Input should be greater than 0"),
        ("trainer.total_timesteps=1.5", "trainer.total_timesteps: Input should be a valid integer"),
        ("trainer.ppo.gamma=1.1", "trainer.ppo.gamma: Input should be less than or equal to 1"),
        ("trainer.optimizer.learning_rate=nan", "should be a finite number"),
        ("trainer.resume=maybe", "trainer.resume: Input should be a valid boolean"),
        ("hardware=abacus", "hardware: Input should be 'macbook' or 'gpu' (got 'abacus')"),
        ("run=", "run: String should have at least 1 character"),
    ],
)
def test_what_is_wrong_is_named(override: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_overrides([override])
    assert said in caught.value.message
    assert caught.value.exit_status == 2


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(InputError) as caught:
        parse_overrides(["sed=1", "trainer.ppo.gamma=2", "nothing"])
    assert len(caught.value.message.splitlines()) == 3


def test_known_keys_are_those_of_the_model() -> None:
    assert set(known_keys()) == set(flatten(ArenaConfig()))
    assert "trainer.ppo.max_grad_norm" in known_keys()
    written = [f"{key}={value}" for key, value in flatten(ArenaConfig()).items()]
    assert parse_overrides(written) == ArenaConfig()


def test_the_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        ArenaConfig().trainer.ppo.gamma = 0.5  # type: ignore[misc]


def test_checking_overrides_needs_neither_torch_nor_mettagrid() -> None:
    code = (
        "import sys; import metta_sandbox.node.arena.config; "
        "sys.exit(bool({'torch', 'mettagrid', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
