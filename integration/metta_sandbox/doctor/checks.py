"""All that is looked at, in the order in which one mends what is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from metta_sandbox.doctor import engine_checks, host_checks
from metta_sandbox.doctor.item import MachineFinding
from metta_sandbox.doctor.machine import Machine
from metta_sandbox.image.base_image import DEFAULT_BASE_IMAGE
from metta_sandbox.stack.engines.compose.subnet import POOL


@dataclass(frozen=True)
class MachineCheck:
    """Something that scenarios need of a machine, and what judges it.

    Args:
        name: Its name in the report.
        needed: What should be there.
        judge: Says what is there, or None where the question does not arise.

    """

    name: str
    needed: str
    judge: Callable[[Machine], MachineFinding | None]


CHECKS = (
    MachineCheck("access", "a user who may talk to the engine", engine_checks.access),
    MachineCheck("engine", "Docker 20.10 or newer, with Linux containers", engine_checks.engine),
    MachineCheck("architecture", "x86_64 or aarch64", engine_checks.architecture),
    MachineCheck("compose", "Compose 2 or newer, as a plugin of docker", engine_checks.compose),
    MachineCheck("buildkit", "builds the node image (RUN --mount)", engine_checks.buildkit),
    MachineCheck(
        "disk", "4 GB free to build the node image, 1 GB once it is built", engine_checks.disk
    ),
    MachineCheck(
        "engine memory",
        "4 GB: two nodes take 1.5 GB, each further one 0.7 GB",
        engine_checks.memory,
    ),
    MachineCheck("cgroup", "memory limits, for nodes that run out of memory", engine_checks.cgroup),
    MachineCheck("shared memory", "2 GiB in a node, for data loaders", engine_checks.shared_memory),
    MachineCheck("networks", f"room in {POOL} for 8 stacks' networks", engine_checks.networks),
    MachineCheck(
        "nfqueue", "NFQUEUE (nf_tables), for faults of the network", engine_checks.nfqueue
    ),
    MachineCheck("clock", "less than 1 s between this machine and the engine", engine_checks.clock),
    MachineCheck(
        "base image",
        f"{DEFAULT_BASE_IMAGE}, or one made from packages in its place",
        engine_checks.base_image,
    ),
    MachineCheck(
        "node image",
        "built from base image, packages and this version of the sandbox",
        engine_checks.node_image,
    ),
    MachineCheck("packages", "the nodes' wheels, or a pip that fetches them", host_checks.packages),
    MachineCheck(
        "python",
        "Python 3.11 or 3.12 for nodes that are local processes (--engine process)",
        host_checks.python,
    ),
    MachineCheck(
        "stacks", "py-spy, to see where programs of local processes hang", host_checks.stacks
    ),
    MachineCheck("memory", "4 GB for nodes that are local processes", host_checks.memory),
)
