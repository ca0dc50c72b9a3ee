"""The arenas that can be trained on, as data: no torch, no mettagrid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

#: Agents that share one arena.
AGENTS_PER_ARENA = 8

#: Environment steps of one episode. Scores are rewards per agent and episode.
EPISODE_STEPS = 64

#: How curricula were spelt in the configuration tree of older trainers.
OLDER_PREFIX = "/env/mettagrid/curriculum/"


@dataclass(frozen=True)
class Curriculum:
    """What is put, at random places, into a walled arena.

    Args:
        size: Side of the square map in cells, border included.
        walls: Wall cells besides the border.
        altars: Objects that give hearts; each heart is a reward of 1 to the agent that takes it.
        hearts: Hearts that one altar holds at the start. They do not grow back.

    """

    size: int
    walls: int
    altars: int
    hearts: int


#: Every curriculum by name. The first one is the default.
CURRICULA: Mapping[str, Curriculum] = MappingProxyType(
    {
        "arena/random": Curriculum(size=18, walls=20, altars=16, hearts=8),
        "arena/sparse": Curriculum(size=24, walls=40, altars=8, hearts=16),
        "arena/maze": Curriculum(size=18, walls=70, altars=16, hearts=8),
    }
)


def canonical_name(name: str) -> str:
    """Spell a curriculum's name as ``CURRICULA`` does, whether or not there is one."""
    return name.removeprefix(OLDER_PREFIX)
