"""How good a policy is: whole episodes on arenas that it was not trained on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from metta_sandbox.node.arena import checkpoint as checkpoints
from metta_sandbox.node.arena.curriculum import AGENTS_PER_ARENA, EPISODE_STEPS, canonical_name
from metta_sandbox.node.arena.env import ACTIONS, Arenas, Bytes, Integers
from metta_sandbox.node.arena.policy import Policy, one_thread, sample
from metta_sandbox.node.arena.seeds import Stream, derive

#: Episodes that are played unless somebody says otherwise.
EPISODES = 16


@dataclass(frozen=True)
class Evaluation:
    """A policy's worth.

    Args:
        score: Mean reward of an agent in an episode of ``EPISODE_STEPS`` steps.
        episodes: Arenas played, each with ``AGENTS_PER_ARENA`` agents.
        seconds: How long that took.

    """

    score: float
    episodes: int
    seconds: float


@one_thread()
@torch.no_grad()
def evaluate(
    checkpoint: Path, *, curriculum: str, seed: int, episodes: int = EPISODES
) -> Evaluation:
    """Play a checkpoint's policy, drawing its actions as in training.

    Equal arguments give an equal score. No process group is needed.

    Raises:
        InputError: The checkpoint is missing or damaged.

    """
    began = time.perf_counter()
    policy = Policy()
    policy.load_state_dict(checkpoints.load(checkpoint).policy)
    generator = torch.Generator()
    generator.manual_seed(derive(seed, Stream.EVALUATION))
    state = policy.blank_state(episodes * AGENTS_PER_ARENA)

    def act(seen: Bytes) -> Integers:
        nonlocal state
        logits, _, state = policy(torch.from_numpy(seen).unsqueeze(1), state)
        return sample(logits.squeeze(1), generator).numpy()

    score = _score(act, curriculum, seed, episodes)
    return Evaluation(score, episodes, time.perf_counter() - began)


def random_policy_score(*, curriculum: str, seed: int, episodes: int = EPISODES) -> Evaluation:
    """Play actions drawn without looking, on the same arenas as ``evaluate`` with this seed."""
    began = time.perf_counter()
    draw = np.random.default_rng(derive(seed, Stream.EVALUATION))
    score = _score(lambda seen: draw.integers(ACTIONS, size=len(seen)), curriculum, seed, episodes)
    return Evaluation(score, episodes, time.perf_counter() - began)


def _score(act: Callable[[Bytes], Integers], curriculum: str, seed: int, episodes: int) -> float:
    seeds = [derive(seed, Stream.EVALUATION, episode) for episode in range(episodes)]
    arenas = Arenas(canonical_name(curriculum), seeds)
    try:
        total = sum(float(arenas.step(act(arenas.observe())).sum()) for _ in range(EPISODE_STEPS))
    finally:
        arenas.close()
    return total / arenas.agents
