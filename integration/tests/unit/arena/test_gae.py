"""Advantages, against numbers worked out by hand and against the sum that defines them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from metta_sandbox.node.arena.gae import advantages


def test_two_steps_by_hand() -> None:
    found = advantages(
        torch.tensor([[1.0], [2.0]]),
        torch.tensor([[0.5], [1.0]]),
        torch.tensor([4.0]),
        gamma=0.5,
        gae_lambda=0.5,
    )
    # delta_1 = 2 + 0.5 * 4 - 1 = 3; delta_0 = 1 + 0.5 * 1 - 0.5 = 1; A_0 = 1 + 0.25 * 3
    assert found.tolist() == [[1.75], [3.0]]


def _by_definition(
    rewards: Tensor, values: Tensor, bootstrap: Tensor, gamma: float, lam: float
) -> Tensor:
    """Weigh the k-step advantages, as in equations 11 to 16 of arXiv:1506.02438."""
    steps = len(rewards)
    after = torch.cat([values[1:], bootstrap.unsqueeze(0)])
    deltas = rewards + gamma * after - values
    return torch.stack(
        [
            sum(((gamma * lam) ** (k - t) * deltas[k] for k in range(t, steps)), torch.zeros(3))
            for t in range(steps)
        ]
    )


@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
def test_the_recursion_is_the_sum(gamma: float, lam: float) -> None:
    draw = torch.Generator().manual_seed(1)
    rewards, values = (torch.randn(9, 3, generator=draw) for _ in range(2))
    bootstrap = torch.randn(3, generator=draw)
    found = advantages(rewards, values, bootstrap, gamma=gamma, gae_lambda=lam)
    torch.testing.assert_close(found, _by_definition(rewards, values, bootstrap, gamma, lam))


def test_full_trust_in_what_was_seen_gives_returns_less_values() -> None:
    rewards, values = torch.ones(4, 1), torch.full((4, 1), 2.0)
    found = advantages(rewards, values, torch.tensor([10.0]), gamma=1.0, gae_lambda=1.0)
    assert found.squeeze(1).tolist() == [12.0, 11.0, 10.0, 9.0]
