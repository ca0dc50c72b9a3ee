"""The policy: what an agent does, and how good it thinks its situation is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from metta_sandbox.node.arena.env import ACTIONS, FEATURES, MOST_HEARTS

#: Width of the recurrent state.
HIDDEN = 64


class Policy(nn.Module):
    """An encoder, a gated recurrent unit (Cho et al. 2014, arXiv:1406.1078) and two heads.

    Layers start orthogonal, the policy head near zero, as recommended for PPO by Andrychowicz et
    al. 2020 (arXiv:2006.05990).
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(FEATURES, HIDDEN)
        self.memory = nn.GRU(HIDDEN, HIDDEN, batch_first=True)
        self.actor = nn.Linear(HIDDEN, ACTIONS)
        self.critic = nn.Linear(HIDDEN, 1)
        for layer, gain in ((self.encoder, 2**0.5), (self.actor, 0.01), (self.critic, 1.0)):
            nn.init.orthogonal_(layer.weight, gain)
            nn.init.zeros_(layer.bias)

    def forward(self, observations: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Follow agents through some steps.

        Args:
            observations: Shape (agents, steps, FEATURES), bytes as ``Arenas.observe`` gives them.
            state: What each remembers before the first step, shape (agents, HIDDEN).

        Returns:
            Logits (agents, steps, ACTIONS), values (agents, steps), state after the last step.

        """
        encoded = torch.relu(self.encoder(observations.float() / MOST_HEARTS))
        remembered, last = self.memory(encoded, state.unsqueeze(0))
        features = remembered + encoded
        return self.actor(features), self.critic(features).squeeze(-1), last.squeeze(0)

    def blank_state(self, agents: int) -> Tensor:
        """Return the state of agents that remember nothing."""
        return torch.zeros(agents, HIDDEN, device=self.actor.weight.device)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread: sums then come out the same on machines of any size.

    So small a policy gains nothing from more threads.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def make_policy(seed: int) -> Policy:
    """Make the policy a seed stands for, without touching torch's global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Policy()


def sample(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Draw an action from each row of logits, shape (agents, ACTIONS)."""
    return torch.multinomial(torch.softmax(logits, -1), 1, generator=generator).squeeze(-1)


def digest(policy: nn.Module) -> str:
    """Return the SHA-256 of a module's parameters in hexadecimal.

    Parameters are taken in the order of their names; of each the name, the shape and the values
    as little-endian 32-bit floats in row-major order go in.
    """
    found = hashlib.sha256()
    for name, parameter in sorted(policy.named_parameters()):
        values = parameter.detach().cpu().contiguous().numpy().astype("<f4")
        found.update(f"{name}{list(values.shape)}".encode())
        found.update(values.tobytes())
    return found.hexdigest()
