"""Learning: the clipped objective, and the passes over what was played."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from metta_sandbox.node.arena.config import PpoConfig
from metta_sandbox.node.arena.rollout import Rollout


@dataclass(frozen=True)
class Losses:
    """The parts of the objective, each a scalar tensor, and two signs of how far a step went."""

    loss: Tensor
    policy_loss: Tensor
    value_loss: Tensor
    entropy: Tensor
    approx_kl: Tensor
    clip_fraction: Tensor


def policy_loss(ratio: Tensor, advantage: Tensor, clip_coef: float) -> Tensor:
    """Return the clipped surrogate, to be made small.

    The mean of max(-A r, -A clip(r, 1 - c, 1 + c)): the negative of equation 7 in Schulman et al.
    2017 (arXiv:1707.06347).

    Args:
        ratio: Probability of each action now over when it was played.
        advantage: Same shape.
        clip_coef: How far a ratio may leave 1 before it stops to count.

    """
    clipped = ratio.clamp(1 - clip_coef, 1 + clip_coef)
    return torch.maximum(-advantage * ratio, -advantage * clipped).mean()


def value_loss(values: Tensor, old: Tensor, returns: Tensor, clip_coef: float | None) -> Tensor:
    """Return half the mean squared error of values.

    With ``clip_coef``, the larger of the error and of the error with values kept within that
    distance of the old ones counts, as in equation 9 of Engstrom et al. 2020 (arXiv:2005.12729).
    """
    error = (values - returns).square()
    if clip_coef is not None:
        near = old + (values - old).clamp(-clip_coef, clip_coef)
        error = torch.maximum(error, (near - returns).square())
    return 0.5 * error.mean()


def normalized(advantage: Tensor) -> Tensor:
    """Return advantages with mean 0 and deviation 1."""
    return (advantage - advantage.mean()) / (advantage.std(correction=0) + 1e-8)


def losses(logits: Tensor, values: Tensor, played: Rollout, ppo: PpoConfig) -> Losses:
    """Compute the objective of a minibatch.

    Args:
        logits: What the policy says now, shape (segments, horizon, ACTIONS).
        values: What it expects now, shape (segments, horizon).
        played: The minibatch.
        ppo: The weights of the parts.

    """
    log_probs = torch.log_softmax(logits, -1)
    taken = log_probs.gather(-1, played.actions.unsqueeze(-1)).squeeze(-1)
    log_ratio = taken - played.log_probs
    ratio = log_ratio.exp()
    advantage = normalized(played.advantages) if ppo.norm_adv else played.advantages
    policy = policy_loss(ratio, advantage, ppo.clip_coef)
    clip = ppo.vf_clip_coef if ppo.clip_vloss else None
    value = value_loss(values, played.values, played.returns, clip)
    entropy = -(log_probs.exp() * log_probs).sum(-1).mean()
    return Losses(
        loss=policy + ppo.vf_coef * value - ppo.ent_coef * entropy,
        policy_loss=policy,
        value_loss=value,
        entropy=entropy,
        approx_kl=(ratio - 1 - log_ratio).mean(),
        clip_fraction=((ratio - 1).abs() > ppo.clip_coef).float().mean(),
    )


@dataclass(frozen=True)
class Learner:
    """A policy, whole or wrapped to average gradients over ranks, and what changes it."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    ppo: PpoConfig
    epochs: int
    minibatch: int

    def learn(self, rollout: Rollout, generator: torch.Generator) -> Mapping[str, float]:
        """Pass over what was played ``epochs`` times; return the means of what was seen.

        Args:
            rollout: The same number of segments on every rank.
            generator: Where the minibatches' order is drawn from.

        """
        seen: list[dict[str, float]] = []
        for segments in self._minibatches(len(rollout), generator):
            played = rollout.pick(segments)
            logits, values, _ = self.model(played.observations, played.states)
            parts = losses(logits, values, played, self.ppo)
            self.optimizer.zero_grad()
            parts.loss.backward()  # type: ignore[no-untyped-call]
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.ppo.max_grad_norm)
            self.optimizer.step()
            figures = {name: part.item() for name, part in vars(parts).items()}
            seen.append({**figures, "grad_norm": norm.item()})
        return {name: sum(one[name] for one in seen) / len(seen) for name in seen[0]}

    def _minibatches(self, segments: int, generator: torch.Generator) -> Iterator[Tensor]:
        for _ in range(self.epochs):
            order = torch.randperm(segments, generator=generator)
            yield from torch.split(order, self.minibatch)
