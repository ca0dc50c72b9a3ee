"""Arenas of the real mettagrid, stepped together on shared buffers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from mettagrid.builder.envs import make_arena
from mettagrid.config.handler_config import Handler, targetHas, withdraw
from mettagrid.config.mettagrid_config import (
    GridObjectConfig,
    InventoryConfig,
    MettaGridConfig,
    ObsConfig,
)
from mettagrid.map_builder.random_map import RandomMapBuilder
from mettagrid.mettagrid_c import PackedCoordinate
from mettagrid.simulator import Simulation
from mettagrid.simulator.simulator import Buffers

from metta_sandbox.node.arena.curriculum import AGENTS_PER_ARENA, CURRICULA

#: An agent sees this many cells in each direction of a square around it, itself in the middle.
WINDOW = 11
_CELLS = WINDOW * WINDOW
#: More than the cells in sight can hold; mettagrid drops the farthest tokens beyond it.
_TOKENS = 256
#: What can stand in a cell, in the order of mettagrid's tag numbers (alphabetical).
TAGS = ("type:agent", "type:altar", "type:wall")
#: Noop and a step in each direction. To step onto an altar is to use it.
ACTIONS = 5
#: Features of an observation: a plane per tag, one of hearts, the last action, the last reward.
FEATURES = (len(TAGS) + 1) * _CELLS + ACTIONS + 1
#: Heart counts are cut here, so that an observation's values lie in 0 to 8.
MOST_HEARTS = 8

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.integer]


def arena_config(curriculum: str, map_seed: int) -> MettaGridConfig:
    """Describe one arena to mettagrid.

    It never ends by itself: whoever plays it decides on the number of steps.

    Args:
        curriculum: A name in ``CURRICULA``.
        map_seed: What the layout is drawn from.

    """
    what = CURRICULA[curriculum]
    layout = RandomMapBuilder.Config(
        seed=map_seed,
        width=what.size,
        height=what.size,
        border_width=1,
        objects={"wall": what.walls, "altar": what.altars},
        agents=AGENTS_PER_ARENA,
    )
    config = make_arena(AGENTS_PER_ARENA, combat=False, map_builder=layout)
    config.game.objects["altar"] = GridObjectConfig(
        name="altar",
        inventory=InventoryConfig(initial={"heart": what.hearts}),
        on_use_handler=Handler(
            filters=[targetHas({"heart": 1})], mutations=[withdraw({"heart": 1})]
        ),
    )
    config.game.max_steps = 0
    config.game.obs = ObsConfig(width=WINDOW, height=WINDOW, num_tokens=_TOKENS)
    return config


class Arenas:
    """Fresh arenas, a seed each, whose agents act together.

    Agents are numbered through: arena 0's first, then arena 1's, and so on.

    Args:
        curriculum: A name in ``CURRICULA``.
        seeds: One for each arena; equal seeds give equal arenas.

    """

    def __init__(self, curriculum: str, seeds: Sequence[int]) -> None:
        agents = len(seeds) * AGENTS_PER_ARENA
        self._tokens: Bytes = np.zeros((agents, _TOKENS, 3), np.uint8)
        self._rewards: Floats = np.zeros(agents, np.float32)
        self._actions = np.zeros(agents, np.int32)
        self._simulations = [
            Simulation(arena_config(curriculum, seed), seed, buffers=self._buffers(number))
            for number, seed in enumerate(seeds)
        ]
        ids = self._simulations[0].config.game.id_map()
        assert tuple(ids.tag_names()) == TAGS
        self._feature_ids = {
            name: ids.feature_id(name)
            for name in ("tag", "inv:heart", "last_action", "last_reward")
        }

    @property
    def agents(self) -> int:
        """The number of agents in all arenas."""
        return len(self._actions)

    def observe(self) -> Bytes:
        """Return what every agent sees now, as small numbers of shape (agents, FEATURES)."""
        seen = np.zeros((self.agents, FEATURES), np.uint8)
        place, feature, value = (self._tokens[..., part] for part in range(3))
        local = place < PackedCoordinate.GLOBAL_LOCATION
        here = place == PackedCoordinate.GLOBAL_LOCATION
        cell = (place >> 4).astype(np.intp) * WINDOW + (place & 0x0F)

        agent, token = np.nonzero(local & (feature == self._feature_ids["tag"]))
        seen[agent, value[agent, token].astype(np.intp) * _CELLS + cell[agent, token]] = 1
        agent, token = np.nonzero(local & (feature == self._feature_ids["inv:heart"]))
        hearts = np.minimum(value[agent, token], MOST_HEARTS)
        seen[agent, len(TAGS) * _CELLS + cell[agent, token]] = hearts
        agent, token = np.nonzero(here & (feature == self._feature_ids["last_action"]))
        seen[agent, (len(TAGS) + 1) * _CELLS + value[agent, token].astype(np.intp)] = 1
        agent, token = np.nonzero(here & (feature == self._feature_ids["last_reward"]))
        seen[agent, -1] = value[agent, token] > 0
        return seen

    def step(self, actions: Integers) -> Floats:
        """Let every agent act once.

        Args:
            actions: Shape (agents,), numbers below ``ACTIONS``.

        Returns:
            The rewards, shape (agents,).

        """
        self._actions[:] = actions
        for simulation in self._simulations:
            simulation.step()
        return self._rewards.copy()

    def close(self) -> None:
        """Free the arenas' memory."""
        for simulation in self._simulations:
            simulation.close()
        self._simulations = []

    def _buffers(self, arena: int) -> Buffers:
        mine = slice(arena * AGENTS_PER_ARENA, (arena + 1) * AGENTS_PER_ARENA)
        flags = [np.zeros(AGENTS_PER_ARENA, np.bool_) for _ in range(3)]
        spare = [np.zeros(AGENTS_PER_ARENA, np.int32) for _ in range(2)]
        return Buffers(
            observations=self._tokens[mine],
            terminals=flags[0],
            truncations=flags[1],
            masks=flags[2],
            rewards=self._rewards[mine],
            actions=self._actions[mine],
            teacher_actions=spare[0],
            vibe_actions=spare[1],
        )
