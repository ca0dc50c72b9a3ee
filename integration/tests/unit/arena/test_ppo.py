"""The clipped objective, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from metta_sandbox.node.arena.config import PpoConfig
from metta_sandbox.node.arena.env import FEATURES
from metta_sandbox.node.arena.policy import HIDDEN
from metta_sandbox.node.arena.ppo import losses, normalized, policy_loss, value_loss
from metta_sandbox.node.arena.rollout import Rollout


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss"),
    [
        (1.0, 2.0, -2.0),  # nothing changed
        (1.5, 2.0, -2.4),  # better and likelier: counts up to 1.2
        (0.5, 2.0, -1.0),  # better and rarer: counts in full, to be mended
        (1.5, -2.0, 3.0),  # worse and likelier: counts in full, to be mended
        (0.5, -2.0, 1.6),  # worse and rarer: counts down to 0.8
    ],
)
def test_the_surrogate_is_clipped_on_the_hopeful_side_only(
    ratio: float, advantage: float, loss: float
) -> None:
    found = policy_loss(torch.tensor([ratio]), torch.tensor([advantage]), 0.2)
    assert found.item() == pytest.approx(loss)


def test_beyond_the_clip_there_is_no_gradient() -> None:
    ratio = torch.tensor([1.5, 1.1], requires_grad=True)
    (gradient,) = torch.autograd.grad(policy_loss(ratio, torch.ones(2), 0.2), ratio)
    assert gradient.tolist() == [0.0, -0.5]


def test_value_loss_is_half_the_squared_error() -> None:
    found = value_loss(torch.tensor([1.0, 3.0]), torch.zeros(2), torch.tensor([0.0, 1.0]), None)
    assert found.item() == pytest.approx((1 + 4) / 4)


def test_a_clipped_value_counts_with_its_larger_error() -> None:
    # From 0 it may move to 0.2 only: the error stays (1 - 0.2)^2 although 1 is exactly right.
    near = value_loss(torch.tensor([1.0]), torch.tensor([0.0]), torch.tensor([1.0]), 0.2)
    assert near.item() == pytest.approx(0.32)
    far = value_loss(torch.tensor([3.0]), torch.tensor([0.0]), torch.tensor([1.0]), 0.2)
    assert far.item() == pytest.approx(2.0)


def test_normalized_advantages() -> None:
    found = normalized(torch.tensor([1.0, 2.0, 3.0, 6.0]))
    assert found.mean().item() == pytest.approx(0.0, abs=1e-6)
    assert found.std(correction=0).item() == pytest.approx(1.0)
    assert torch.isfinite(normalized(torch.zeros(4))).all()


def _played(old_log_prob: float, advantages: Tensor) -> Rollout:
    steps = torch.zeros(1, 2)
    return Rollout(
        observations=torch.zeros(1, 2, FEATURES, dtype=torch.uint8),
        states=torch.zeros(1, HIDDEN),
        actions=torch.zeros(1, 2, dtype=torch.int64),
        log_probs=torch.full((1, 2), old_log_prob),
        values=steps,
        advantages=advantages,
        returns=torch.ones(1, 2),
        rewards=steps,
    )


def test_the_parts_are_weighed_and_added() -> None:
    logits = torch.zeros(1, 2, 5)  # five actions alike
    played = _played(math.log(0.2 / 1.1), torch.tensor([[1.0, 3.0]]))
    ppo = PpoConfig(norm_adv=False, vf_coef=0.25, ent_coef=0.1)
    found = losses(logits, torch.zeros(1, 2), played, ppo)
    assert found.policy_loss.item() == pytest.approx(-2.2)  # ratio 1.1, mean advantage 2
    assert found.value_loss.item() == pytest.approx(0.5)
    assert found.entropy.item() == pytest.approx(math.log(5))
    assert found.loss.item() == pytest.approx(-2.2 + 0.125 - 0.1 * math.log(5), rel=1e-5)
    assert found.approx_kl.item() == pytest.approx(0.1 - math.log(1.1), rel=1e-4)
    assert found.clip_fraction.item() == 0.0


def test_what_left_the_clip_is_counted() -> None:
    played = _played(math.log(0.2 / 1.5), torch.tensor([[1.0, 3.0]]))
    found = losses(torch.zeros(1, 2, 5), torch.zeros(1, 2), played, PpoConfig())
    assert found.clip_fraction.item() == 1.0
