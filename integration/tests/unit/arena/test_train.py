"""A run by itself, in this process: progress, checkpoints, events, going on, evaluation."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from metta_sandbox.errors import InputError
from metta_sandbox.node.agent.emitter import Emitter
from metta_sandbox.node.arena import checkpoint
from metta_sandbox.node.arena.config import flatten, parse_overrides
from metta_sandbox.node.arena.evaluate import Evaluation, evaluate, random_policy_score
from metta_sandbox.node.arena.train import DivergedError, Outcome, Progress, train
from metta_sandbox.node.arena.world import World

_SMALL = (
    "trainer.total_timesteps=256",
    "trainer.batch_size=64",
    "trainer.minibatch_size=32",
    "trainer.bptt_horizon=4",
    "trainer.checkpoint_interval=2",
)


def _train(trial: Path, *overrides: str) -> tuple[Outcome, list[dict[str, Any]]]:
    mirror = io.StringIO()
    config = parse_overrides([*_SMALL, *overrides])
    outcome = train(config, World(), trial, Emitter({}, mirror=mirror))
    return outcome, [json.loads(line) for line in mirror.getvalue().splitlines()]


def test_a_run_says_what_it_does(tmp_path: Path) -> None:
    outcome, events = _train(tmp_path)
    assert [(event["event"], event["step"]) for event in events] == [
        ("train.started", 0),
        ("train.step", 1),
        ("checkpoint.saved", 2),
        ("train.step", 2),
        ("train.step", 3),
        ("checkpoint.saved", 4),
        ("train.step", 4),
        ("train.finished", 4),
    ]
    steps = [event for event in events if event["event"] == "train.step"]
    assert [step["agent_steps"] for step in steps] == [64, 128, 192, 256]
    for name in ("loss", "policy_loss", "value_loss", "entropy", "approx_kl", "reward"):
        assert all(isinstance(step[name], float) for step in steps)
    assert events[0]["world_size"] == 1
    assert events[-1]["digest"] == outcome.digest
    assert events[-1]["agent_steps"] == 256
    assert (tmp_path / "rank-0.digest").read_text() == f"{outcome.digest}\n"
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.pt", "rank-0.digest"}


def test_fifty_steps_are_one_small_batch(tmp_path: Path) -> None:
    config = parse_overrides(["trainer.total_timesteps=50"])
    outcome = train(config, World(), tmp_path, Emitter({}))
    assert outcome.progress == Progress(step=1, agent_steps=56)  # seven steps of eight agents


def test_training_changes_the_policy_and_the_seed_decides_how(tmp_path: Path) -> None:
    short, _ = _train(tmp_path / "short", "trainer.total_timesteps=64")
    long, _ = _train(tmp_path / "long")
    again, _ = _train(tmp_path / "again")
    other, _ = _train(tmp_path / "other", "seed=1")
    assert long.digest == again.digest
    assert len({short.digest, long.digest, other.digest}) == 3


def test_a_resumed_run_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    undisturbed, _ = _train(tmp_path / "undisturbed")
    _train(tmp_path / "resumed", "trainer.total_timesteps=128")
    resumed, events = _train(tmp_path / "resumed")
    assert events[0]["event"] == "train.started"
    assert events[0]["step"] == 2
    assert resumed.digest == undisturbed.digest
    assert resumed.progress == undisturbed.progress


def test_without_the_optimisers_state_it_would_not(tmp_path: Path) -> None:
    undisturbed, _ = _train(tmp_path / "undisturbed")
    _train(tmp_path / "forgetful", "trainer.total_timesteps=128")
    path = tmp_path / "forgetful" / "checkpoint.pt"
    found = checkpoint.load(path)
    groups = found.optimizer["param_groups"]
    blank = {**vars(found), "optimizer": {"state": {}, "param_groups": groups}}
    checkpoint.save(checkpoint.Checkpoint(**blank), path)
    assert _train(tmp_path / "forgetful")[0].digest != undisturbed.digest


def test_a_run_that_is_done_does_nothing_more(tmp_path: Path) -> None:
    first, _ = _train(tmp_path)
    second, events = _train(tmp_path)
    assert [event["event"] for event in events] == ["train.started", "train.finished"]
    assert second.digest == first.digest


def test_what_is_written_may_be_read_by_whom_the_umask_allows(tmp_path: Path) -> None:
    _train(tmp_path, "trainer.total_timesteps=64")
    plain = tmp_path / "plain"
    plain.touch()
    assert {path.stat().st_mode for path in tmp_path.iterdir()} == {plain.stat().st_mode}


def test_resume_false_starts_afresh(tmp_path: Path) -> None:
    first, _ = _train(tmp_path)
    second, events = _train(tmp_path, "trainer.resume=false")
    assert events[0]["step"] == 0
    assert second.digest == first.digest


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    _train(tmp_path)
    with pytest.raises(InputError) as caught:
        _train(tmp_path, "trainer.ppo.gamma=0.5", "seed=9")
    assert "seed was 0, is 9, trainer.ppo.gamma was 0.95, is 0.5" in caught.value.message
    config = parse_overrides(_SMALL)
    with pytest.raises(InputError, match="world size was 2, is 1"):
        checkpoint.require_fit(
            checkpoint.Checkpoint(1, 1, 2, flatten(config), {}, {}), tmp_path, config, 1
        )


def test_a_damaged_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    _train(tmp_path)
    whole = path.read_bytes()
    strange = io.BytesIO()
    torch.save({"step": 1}, strange)
    for content in (b"", b"no checkpoint", whole[: len(whole) // 2], strange.getvalue()):
        path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            _train(tmp_path)
        assert str(path) in caught.value.message
        assert "trainer.resume=false" in caught.value.hint


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _train(tmp_path, "trainer.total_timesteps=128")
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.save", full)
    with pytest.raises(OSError, match="No space"):
        _train(tmp_path)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert not list(tmp_path.glob(".checkpoint*"))


def test_a_diverged_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="training diverged in step") as caught:
        _train(tmp_path, "trainer.optimizer.learning_rate=1e30")
    assert "trainer.optimizer.learning_rate" in caught.value.hint


def test_an_evaluation_is_a_function_of_checkpoint_curriculum_and_seed(tmp_path: Path) -> None:
    _train(tmp_path)
    path = tmp_path / "checkpoint.pt"
    first, again, other, elsewhere = (
        evaluate(path, curriculum=curriculum, seed=seed, episodes=4)
        for curriculum, seed in (
            ("arena/random", 1),
            ("/env/mettagrid/curriculum/arena/random", 1),
            ("arena/random", 2),
            ("arena/sparse", 1),
        )
    )
    assert isinstance(first, Evaluation)
    assert first.episodes == 4
    assert first.score == again.score
    assert first.score > 0
    assert len({first.score, other.score, elsewhere.score}) == 3


def test_an_evaluation_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        evaluate(tmp_path / "checkpoint.pt", curriculum="arena/random", seed=0)


def test_the_random_policy_is_scored_on_the_same_scale(tmp_path: Path) -> None:
    # Hardly trained, the policy is still nearly uniform: both earn about the same.
    _train(tmp_path, "trainer.total_timesteps=64")
    uniform = random_policy_score(curriculum="arena/random", seed=3)
    assert uniform.score == random_policy_score(curriculum="arena/random", seed=3).score
    untrained = evaluate(tmp_path / "checkpoint.pt", curriculum="arena/random", seed=3)
    assert untrained.score == pytest.approx(uniform.score, rel=0.35)
