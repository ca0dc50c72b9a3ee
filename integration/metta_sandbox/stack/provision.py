"""What a scenario brings along for its nodes, with every path found."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from metta_sandbox.image.build import Build
from metta_sandbox.image.requirements import Required
from metta_sandbox.scenario.provision import Limits

#: Of a machine's memory, what one node may take.
_SHARE = 0.8


def node_memory() -> int:
    """Say how many bytes a node may take of this machine where its scenario does not."""
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * _SHARE)


@dataclass(frozen=True)
class MountSpec:
    """A file or folder of this machine, and where nodes see it."""

    source: Path
    target: str
    read_only: bool = True


@dataclass(frozen=True)
class Provision:
    """What nodes are to have beyond what all have.

    Args:
        requirements: Packages for the trainer, or the command, alone.
        image: The user's image, or None.
        build: What the user's image is built from, or None.
        bundled_rollout: Whether our rollout must run on the nodes.
        mounts: What of this machine nodes see.
        limits: What one node may take of the machine.
        way_out: Whether nodes that are containers can reach what this machine can.
        shared_memory: The size of ``/dev/shm``, in bytes, where nodes are containers.

    """

    requirements: tuple[Required, ...] = ()
    image: str | None = None
    build: Build | None = None
    bundled_rollout: bool = True
    mounts: tuple[MountSpec, ...] = ()
    way_out: bool = False
    shared_memory: int = 2 * 2**30
    limits: Limits = field(default_factory=Limits)

    @property
    def takes_time(self) -> bool:
        """Whether it must be fetched or built."""
        return bool(self.requirements or self.image or self.build)
