"""What checks read of a machine, each reading once, and all that can be at the same time."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import TypeVar

from metta_sandbox.doctor import read_engine, read_host
from metta_sandbox.doctor.probe import Deadline, Probe, ProbeError
from metta_sandbox.doctor.read_engine import EngineInfo, EngineVersion, ImagesFound, Inside
from metta_sandbox.doctor.read_host import Host, Memory, Packages, PythonFound, StackReading

T = TypeVar("T")


@dataclass(frozen=True)
class Machine:
    """Gives what was read; raises ``ProbeError`` where something could not be.

    Args:
        host: This machine.
        engine: Which engine answers; raises ``NoEngineError`` if none does.
        endpoint: Where the client looks for it.
        info: What it says of its machine.
        compose: Compose's version, or an empty string.
        buildkit: What went wrong with a test build, or an empty string.
        disk_free: Bytes free where images are kept.
        networks: Networks in use.
        images: Which images are there.
        inside: What was found where containers run.
        registry: Why the base image can't be pulled, or an empty string.
        packages: Where the nodes' packages come from.
        python: What nodes run on where they are local processes.
        stacks: Whether their stacks can be read.
        memory: This machine's memory.

    """

    host: Host
    engine: Callable[[], EngineVersion]
    endpoint: Callable[[], str]
    info: Callable[[], EngineInfo]
    compose: Callable[[], str]
    buildkit: Callable[[], str]
    disk_free: Callable[[], int]
    networks: Callable[[], list[IPv4Network]]
    images: Callable[[], ImagesFound]
    inside: Callable[[], Inside]
    registry: Callable[[], str]
    packages: Callable[[], Packages]
    python: Callable[[], PythonFound]
    stacks: Callable[[], StackReading]
    memory: Callable[[], Memory]

    @property
    def image_is_built(self) -> bool:
        """Whether the node image is known to be there."""
        return known(self.images, ImagesFound("")).built


def known(read: Callable[[], T], otherwise: T) -> T:
    """Return what is read, or something else where it can't be."""
    try:
        return read()
    except ProbeError:
        return otherwise


def look(deadline: Deadline) -> Machine:
    """Begin to read everything; whoever wants a reading waits for it, or for the deadline."""

    def probe(read: Callable[[], T]) -> Probe[T]:
        return Probe(deadline, read)

    def asked(read: Callable[[], T]) -> Probe[T]:
        """Read something of the engine, if one answers."""

        def read_if_there() -> T:
            engine()
            return read()

        return probe(read_if_there)

    host = probe(read_host.read_host)
    memory = probe(read_host.read_memory)
    python = probe(read_host.read_python)
    stacks = probe(lambda: read_host.read_stacks(deadline))
    engine = probe(lambda: read_engine.read_engine(deadline))
    info = asked(lambda: read_engine.read_info(deadline))
    compose = asked(lambda: read_engine.read_compose(deadline))
    images = asked(lambda: read_engine.read_images(deadline, info()))
    inside = asked(
        lambda: read_engine.read_inside(deadline, info(), known(images, ImagesFound("")))
    )
    return Machine(
        host=known(host, Host()),
        engine=engine,
        endpoint=asked(lambda: read_engine.read_endpoint(deadline)),
        info=info,
        compose=compose,
        buildkit=asked(lambda: _build(deadline, compose)),
        disk_free=asked(
            lambda: read_engine.read_disk_free(info(), known(inside, Inside("", None, None)))
        ),
        networks=asked(lambda: read_engine.read_networks(deadline, here=info().here)),
        images=images,
        inside=inside,
        registry=asked(lambda: "" if images().base else read_engine.read_registry(deadline)),
        packages=probe(
            lambda: read_host.read_packages(
                deadline, known(lambda: info().architecture, platform.machine())
            )
        ),
        python=python,
        stacks=stacks,
        memory=memory,
    )


def _build(deadline: Deadline, compose: Callable[[], str]) -> str:
    if not compose():
        raise ProbeError("needs Compose")
    return read_engine.read_buildkit(deadline)
