"""Generalised advantage estimation."""

from __future__ import annotations

import torch
from torch import Tensor


def advantages(
    rewards: Tensor, values: Tensor, bootstrap: Tensor, *, gamma: float, gae_lambda: float
) -> Tensor:
    """Estimate how much better each action was than expected.

    With delta_t = r_t + gamma V(s_{t+1}) - V(s_t), the advantage is the sum over k of
    (gamma lambda)^k delta_{t+k} (Schulman et al. 2016, arXiv:1506.02438, equation 16), cut off
    where playing stopped. Arenas don't end by themselves, so the last value always counts.

    Args:
        rewards: What each action brought, shape (steps, agents).
        values: What was expected before it, shape (steps, agents).
        bootstrap: What is expected after the last step, shape (agents,).
        gamma: Discount of a step, 0 to 1.
        gae_lambda: Trust in what was seen (1) over what was expected (0).

    Returns:
        Shape (steps, agents).

    """
    estimates = torch.empty_like(rewards)
    following, advantage = bootstrap, torch.zeros_like(bootstrap)
    for step in reversed(range(len(rewards))):
        delta = rewards[step] + gamma * following - values[step]
        advantage = delta + gamma * gae_lambda * advantage
        estimates[step] = advantage
        following = values[step]
    return estimates
