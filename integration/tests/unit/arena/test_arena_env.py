"""The real arena: what agents see and what they are paid."""

from __future__ import annotations

import numpy as np
import pytest

from metta_sandbox.node.arena.curriculum import AGENTS_PER_ARENA, CURRICULA
from metta_sandbox.node.arena.env import (
    ACTIONS,
    FEATURES,
    MOST_HEARTS,
    TAGS,
    WINDOW,
    Arenas,
    Bytes,
)


def _slowly(arenas: Arenas) -> Bytes:
    """Read observations through mettagrid's own API for one agent at a time."""
    seen = np.zeros((arenas.agents, FEATURES), np.uint8)
    planes = seen[:, : (len(TAGS) + 1) * WINDOW * WINDOW].reshape(-1, len(TAGS) + 1, WINDOW, WINDOW)
    everybody = [agent for simulation in arenas._simulations for agent in simulation.agents()]
    for number, agent in enumerate(everybody):
        for token in agent.observation.tokens:
            name, value = token.feature.name, token.value
            if name == "tag":
                planes[number, value, token.row(), token.col()] = 1
            elif name == "inv:heart":
                planes[number, -1, token.row(), token.col()] = min(value, MOST_HEARTS)
            elif name == "last_action":
                seen[number, -1 - ACTIONS + value] = 1
            elif name == "last_reward":
                seen[number, -1] = value > 0
    return seen


@pytest.mark.parametrize("curriculum", CURRICULA)
def test_observations_are_what_mettagrid_shows_each_agent(curriculum: str) -> None:
    arenas = Arenas(curriculum, [1, 2])
    draw = np.random.default_rng(0)
    assert arenas.agents == 2 * AGENTS_PER_ARENA
    for _ in range(40):
        arenas.step(draw.integers(ACTIONS, size=arenas.agents))
        seen = arenas.observe()
        np.testing.assert_array_equal(seen, _slowly(arenas))
        assert (seen[:, -1] <= 1).all()
        middle = (WINDOW * WINDOW) // 2
        assert (seen[:, TAGS.index("type:agent") * WINDOW * WINDOW + middle] == 1).all()
    arenas.close()


def test_a_heart_taken_from_an_altar_is_a_reward_of_one() -> None:
    arenas = Arenas("arena/random", [5])
    what = CURRICULA["arena/random"]
    draw = np.random.default_rng(0)
    earned = np.zeros(arenas.agents)
    for _ in range(200):
        rewards = arenas.step(draw.integers(ACTIONS, size=arenas.agents))
        assert set(rewards.tolist()) <= {0.0, 1.0}
        earned += rewards
    simulation = arenas._simulations[0]
    things = simulation.grid_objects().values()
    left = sum(
        sum(thing["inventory"].values()) for thing in things if thing["type_name"] == "altar"
    )
    assert earned.sum() > 0
    assert earned.sum() == what.altars * what.hearts - left
    np.testing.assert_array_equal(earned, simulation.episode_rewards)


def test_equal_seeds_are_equal_arenas_and_others_are_not() -> None:
    first, again, other = (Arenas("arena/random", [seed]) for seed in (3, 3, 4))
    draw = np.random.default_rng(0)
    for _ in range(30):
        actions = draw.integers(ACTIONS, size=first.agents)
        np.testing.assert_array_equal(first.step(actions), again.step(actions))
        np.testing.assert_array_equal(first.observe(), again.observe())
    assert (first.observe() != other.observe()).any()


def test_arenas_side_by_side_do_not_touch_each_other() -> None:
    together, alone = Arenas("arena/random", [7, 8]), Arenas("arena/random", [8])
    draw = np.random.default_rng(0)
    for _ in range(30):
        actions = draw.integers(ACTIONS, size=together.agents)
        rewards = together.step(actions)
        np.testing.assert_array_equal(
            rewards[AGENTS_PER_ARENA:], alone.step(actions[AGENTS_PER_ARENA:])
        )
        np.testing.assert_array_equal(together.observe()[AGENTS_PER_ARENA:], alone.observe())
