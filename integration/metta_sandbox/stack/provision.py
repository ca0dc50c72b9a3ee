"""What a scenario brings along for its nodes, with every path found."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from metta_sandbox.image.build import ImageBuild
from metta_sandbox.image.requirements import RequiredPackage
from metta_sandbox.scenario.provision import NodeLimits

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
        own: What each node sees besides, by its host; targets may be below ``~/``.
        writable_python: Whether each node needs packages of its own to be written to.
        programs: Programs of cluster images that nodes are to have, where they are containers.

    """

    requirements: tuple[RequiredPackage, ...] = ()
    image: str | None = None
    build: ImageBuild | None = None
    bundled_rollout: bool = True
    mounts: tuple[MountSpec, ...] = ()
    way_out: bool = False
    shared_memory: int = 2 * 2**30
    limits: NodeLimits = field(default_factory=NodeLimits)
    own: Mapping[str, tuple[MountSpec, ...]] = field(default_factory=dict, hash=False)
    writable_python: bool = False
    programs: tuple[str, ...] = ()

    @property
    def takes_time(self) -> bool:
        """Whether it must be fetched or built."""
        return bool(self.requirements or self.image or self.build or self.programs)
