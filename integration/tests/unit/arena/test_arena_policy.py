"""The policy's memory, its draws and its digest."""

from __future__ import annotations

import hashlib

import torch

from metta_sandbox.node.arena.env import ACTIONS, FEATURES
from metta_sandbox.node.arena.policy import HIDDEN, digest, make_policy, one_thread, sample


def test_steps_at_once_are_steps_one_by_one() -> None:
    policy = make_policy(0)
    seen = torch.randint(0, 8, (3, 5, FEATURES), dtype=torch.uint8)
    logits, values, last = policy(seen, policy.blank_state(3))
    assert logits.shape == (3, 5, ACTIONS)
    assert values.shape == (3, 5)
    assert last.shape == (3, HIDDEN)
    state = policy.blank_state(3)
    for step in range(5):
        one, value, state = policy(seen[:, step : step + 1], state)
        torch.testing.assert_close(one.squeeze(1), logits[:, step])
        torch.testing.assert_close(value.squeeze(1), values[:, step])
    torch.testing.assert_close(state, last)


def test_a_policy_is_a_function_of_its_seed_alone() -> None:
    before = torch.random.get_rng_state()
    assert digest(make_policy(1)) == digest(make_policy(1))
    assert digest(make_policy(1)) != digest(make_policy(2))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_draws_follow_the_logits() -> None:
    logits = torch.tensor([[0.0, 50.0], [0.0, 0.0]]).repeat_interleave(2000, 0)
    drawn = sample(logits, torch.Generator().manual_seed(0)).reshape(2, 2000)
    assert drawn[0].min() == 1
    assert 0.45 < drawn[1].float().mean() < 0.55


def test_the_digest_is_of_names_shapes_and_values_in_the_order_of_names() -> None:
    module = torch.nn.Linear(2, 1)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[1.0, -2.0]]))
        module.bias.copy_(torch.tensor([0.5]))
    known = b"bias[1]" + bytes.fromhex("0000003f")
    known += b"weight[1, 2]" + bytes.fromhex("0000803f000000c0")
    assert digest(module) == hashlib.sha256(known).hexdigest()


def test_one_thread_is_given_back() -> None:
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
