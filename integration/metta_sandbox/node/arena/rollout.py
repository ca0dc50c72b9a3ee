"""Playing: how much, and what is remembered of it for learning."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from metta_sandbox.node.arena.config import ArenaConfig, PpoConfig, TrainerConfig
from metta_sandbox.node.arena.curriculum import AGENTS_PER_ARENA, EPISODE_STEPS
from metta_sandbox.node.arena.env import Arenas
from metta_sandbox.node.arena.gae import advantages
from metta_sandbox.node.arena.policy import Policy, sample
from metta_sandbox.node.arena.seeds import Stream, derive


@dataclass(frozen=True)
class Geometry:
    """What one rank plays in one iteration, and the portions it learns in.

    Args:
        arenas: Arenas played at once.
        steps: Environment steps in each, a multiple of ``horizon``.
        horizon: Steps of a segment, through which gradients flow back in time.
        minibatch: Segments in a minibatch.

    """

    arenas: int
    steps: int
    horizon: int
    minibatch: int

    @property
    def agent_steps(self) -> int:
        """Agent steps of one rank in one iteration."""
        return self.arenas * AGENTS_PER_ARENA * self.steps


def plan_rollout(trainer: TrainerConfig, world_size: int) -> Geometry:
    """Find the whole arenas, steps and segments nearest to the sizes asked for.

    A batch is never more than ``total_timesteps``, a minibatch never more than the batch, a
    segment never longer than the batch allows; so tiny totals work with any other setting.
    """
    batch = min(trainer.batch_size, trainer.total_timesteps)
    arena_steps = ceil(batch / (world_size * AGENTS_PER_ARENA))
    horizon = min(trainer.bptt_horizon, arena_steps)
    steps = horizon * ceil(min(EPISODE_STEPS, arena_steps) / horizon)
    arenas = max(1, round(arena_steps / steps))
    segments = arenas * AGENTS_PER_ARENA * steps // horizon
    minibatch = round(trainer.minibatch_size / (world_size * horizon))
    return Geometry(arenas, steps, horizon, min(max(1, minibatch), segments))


@dataclass(frozen=True)
class Rollout:
    """What one rank played in one iteration, cut into segments.

    Shapes begin with (segments, horizon), but for ``states``: (segments, HIDDEN).
    """

    observations: Tensor
    states: Tensor
    actions: Tensor
    log_probs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor
    rewards: Tensor

    def __len__(self) -> int:
        return len(self.actions)

    def pick(self, segments: Tensor) -> Rollout:
        """Return some of the segments, by number."""
        return Rollout(**{name: part[segments] for name, part in vars(self).items()})


def play(
    policy: Policy, config: ArenaConfig, geometry: Geometry, *, rank: int, iteration: int
) -> Rollout:
    """Play one iteration on fresh arenas, all drawn from (seed, rank, iteration)."""
    seeds = [
        derive(config.seed, Stream.ARENA, rank, iteration, arena)
        for arena in range(geometry.arenas)
    ]
    arenas = Arenas(config.trainer.curriculum, seeds)
    generator = torch.Generator()
    generator.manual_seed(derive(config.seed, Stream.ACTIONS, rank, iteration))
    try:
        return _record(policy, arenas, geometry, config.trainer.ppo, generator)
    finally:
        arenas.close()


@torch.no_grad()
def _record(
    policy: Policy, arenas: Arenas, geometry: Geometry, ppo: PpoConfig, generator: torch.Generator
) -> Rollout:
    device = policy.actor.weight.device
    state = policy.blank_state(arenas.agents)
    states: list[Tensor] = []
    steps: list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]] = []
    for step in range(geometry.steps):
        if step % geometry.horizon == 0:
            states.append(state)
        seen = torch.from_numpy(arenas.observe()).to(device)
        logits, values, state = policy(seen.unsqueeze(1), state)
        actions = sample(logits.squeeze(1).cpu(), generator).to(device)
        log_probs = torch.log_softmax(logits.squeeze(1), -1).gather(-1, actions.unsqueeze(-1))
        rewards = torch.from_numpy(arenas.step(actions.cpu().numpy())).to(device)
        steps.append((seen, actions, log_probs.squeeze(-1), values.squeeze(1), rewards))
    seen = torch.from_numpy(arenas.observe()).to(device)
    bootstrap = policy(seen.unsqueeze(1), state)[1].squeeze(1)
    observations, actions, log_probs, values, rewards = (
        torch.stack(column) for column in zip(*steps, strict=True)
    )
    better = advantages(rewards, values, bootstrap, gamma=ppo.gamma, gae_lambda=ppo.gae_lambda)
    cut = {
        "observations": observations,
        "actions": actions,
        "log_probs": log_probs,
        "values": values,
        "advantages": better,
        "returns": better + values,
        "rewards": rewards,
    }
    return Rollout(
        states=torch.cat(states),
        **{name: segments(part, geometry.horizon) for name, part in cut.items()},
    )


def segments(steps: Tensor, horizon: int) -> Tensor:
    """Cut (steps, agents, ...) into (segments, horizon, ...), all agents of one time together."""
    times = steps.reshape(-1, horizon, *steps.shape[1:])
    return times.transpose(1, 2).flatten(0, 1)
