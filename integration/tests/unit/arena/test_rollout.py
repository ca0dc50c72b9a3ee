"""How much is played, and what is kept of it."""

from __future__ import annotations

import pytest
import torch

from metta_sandbox.node.arena.config import TrainerConfig, parse_overrides
from metta_sandbox.node.arena.policy import make_policy
from metta_sandbox.node.arena.rollout import Geometry, plan_rollout, play, segments


def _trainer(**sizes: int) -> TrainerConfig:
    return TrainerConfig.model_validate(sizes)


@pytest.mark.parametrize(
    ("sizes", "world_size", "planned"),
    [
        # 4096 steps are 512 a rank and agent slot: 8 arenas of an episode, or 4 on each of two.
        ({}, 1, Geometry(arenas=8, steps=64, horizon=16, minibatch=64)),
        ({}, 2, Geometry(arenas=4, steps=64, horizon=16, minibatch=32)),
        ({"total_timesteps": 50}, 2, Geometry(arenas=1, steps=4, horizon=4, minibatch=8)),
        ({"total_timesteps": 1}, 2, Geometry(arenas=1, steps=1, horizon=1, minibatch=8)),
        ({"bptt_horizon": 128}, 1, Geometry(arenas=4, steps=128, horizon=128, minibatch=8)),
        ({"bptt_horizon": 7}, 1, Geometry(arenas=7, steps=70, horizon=7, minibatch=146)),
        ({"minibatch_size": 1}, 1, Geometry(arenas=8, steps=64, horizon=16, minibatch=1)),
        ({"minibatch_size": 10**6}, 1, Geometry(arenas=8, steps=64, horizon=16, minibatch=256)),
    ],
)
def test_sizes_become_whole_arenas_and_segments(
    sizes: dict[str, int], world_size: int, planned: Geometry
) -> None:
    assert plan_rollout(_trainer(**sizes), world_size) == planned


def test_agent_steps_are_what_was_asked_for_where_it_divides() -> None:
    for world_size in (1, 2, 4):
        for batch in (64, 512, 4096, 32768):
            geometry = plan_rollout(_trainer(batch_size=batch), world_size)
            assert geometry.agent_steps * world_size == batch


def test_segments_keep_an_agents_time_in_order() -> None:
    step, agent = torch.meshgrid(torch.arange(4), torch.arange(3), indexing="ij")
    cut = segments(step * 10 + agent, 2)
    assert cut.tolist() == [[0, 10], [1, 11], [2, 12], [20, 30], [21, 31], [22, 32]]


def test_a_rollout_is_a_function_of_seed_rank_and_iteration() -> None:
    config = parse_overrides(["trainer.total_timesteps=512", "trainer.bptt_horizon=8"])
    geometry = plan_rollout(config.trainer, 1)
    policy = make_policy(1)
    one = play(policy, config, geometry, rank=0, iteration=3)
    torch.randn(5)  # what others draw meanwhile makes no difference
    again = play(policy, config, geometry, rank=0, iteration=3)
    assert all(torch.equal(part, vars(again)[name]) for name, part in vars(one).items())
    for rank, iteration in ((1, 3), (0, 4)):
        other = play(policy, config, geometry, rank=rank, iteration=iteration)
        assert not torch.equal(one.observations, other.observations)
        assert not torch.equal(one.actions, other.actions)


def test_learning_sees_the_probabilities_that_playing_saw() -> None:
    config = parse_overrides(["trainer.total_timesteps=512", "trainer.bptt_horizon=8"])
    policy = make_policy(1)
    rollout = play(policy, config, plan_rollout(config.trainer, 1), rank=0, iteration=1)
    logits, values, _ = policy(rollout.observations, rollout.states)
    log_probs = torch.log_softmax(logits, -1).gather(-1, rollout.actions.unsqueeze(-1))
    torch.testing.assert_close(log_probs.squeeze(-1), rollout.log_probs)
    torch.testing.assert_close(values, rollout.values)
    assert rollout.states.abs().sum() > 0  # later segments start with a memory
    picked = rollout.pick(torch.tensor([5, 0]))
    assert torch.equal(picked.states, rollout.states[[5, 0]])
    assert torch.equal(picked.actions, rollout.actions[[5, 0]])
