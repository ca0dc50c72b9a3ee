"""The trainer learns: with its defaults, on every seed that is tried."""

from __future__ import annotations

from pathlib import Path

import pytest

from metta_sandbox.node.agent.emitter import Emitter
from metta_sandbox.node.arena.config import parse_overrides
from metta_sandbox.node.arena.evaluate import evaluate, random_policy_score
from metta_sandbox.node.arena.train import train
from metta_sandbox.node.arena.world import World


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_trained_agents_earn_at_least_twice_what_random_ones_do(seed: int, tmp_path: Path) -> None:
    config = parse_overrides([f"seed={seed}"])
    train(config, World(), tmp_path, Emitter({}))
    curriculum = config.trainer.curriculum
    trained = evaluate(tmp_path / "checkpoint.pt", curriculum=curriculum, seed=seed, episodes=64)
    untrained = random_policy_score(curriculum=curriculum, seed=seed, episodes=64)
    assert trained.score >= 2 * untrained.score
