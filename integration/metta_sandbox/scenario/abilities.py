"""What engines may be able to do, and scenarios may need."""

from __future__ import annotations

from enum import Enum


class Ability(Enum):
    """What one engine can do and another can't."""

    #: Nodes are containers: of an image, with mounts and limits, and nobody's but the scenario's.
    CONTAINERS = "containers"
    #: Something can be beside a node: to watch it, or to strike its network or its disk.
    SIDE_CONTAINERS = "side containers"
    GPUS = "GPUs"
    #: Nodes find each other by their host names.
    NAMES = "names of nodes"
    #: Scenarios of one run can take turns on nodes.
    TURNS = "turns on nodes"
    #: A stack can outlive the command that brings it up.
    STANDING = "standing stacks"

    def __str__(self) -> str:
        return self.value
