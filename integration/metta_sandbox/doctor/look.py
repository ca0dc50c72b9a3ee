"""Looking at a whole machine: what does not depend on each other at once, all within one time."""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from metta_sandbox.doctor import read_engine, read_host
from metta_sandbox.doctor.item import NEEDS_AN_ENGINE, Unknown
from metta_sandbox.doctor.probe import Deadline, Probe, ProbeError
from metta_sandbox.doctor.read_engine import Engine, Images, Info, Inside, NoEngine
from metta_sandbox.doctor.read_host import Host, Memory, Packages, Python, Stacks

_NO_ENGINE = Unknown(NEEDS_AN_ENGINE)


@dataclass(frozen=True)
class OnEngine:
    """What was read of an engine that answers; what could not be read says why.

    Args:
        compose: Compose's version, or an empty string.
        buildkit: What went wrong with a test build, or an empty string.
        disk_free: Bytes free where images are kept.
        networks: Networks in use.
        registry: Why the base image can't be pulled, or an empty string; None if it is here.

    """

    endpoint: str | Unknown = _NO_ENGINE
    info: Info | Unknown = _NO_ENGINE
    compose: str | Unknown = _NO_ENGINE
    buildkit: str | Unknown = _NO_ENGINE
    disk_free: int | Unknown = _NO_ENGINE
    networks: list[IPv4Network] | Unknown = _NO_ENGINE
    images: Images | Unknown = _NO_ENGINE
    inside: Inside | Unknown = _NO_ENGINE
    registry: str | Unknown | None = None


@dataclass(frozen=True)
class Findings:
    """All that was read of a machine."""

    host: Host
    engine: Engine | NoEngine | Unknown
    memory: Memory | Unknown
    python: Python | Unknown
    packages: Packages | Unknown
    stacks: Stacks | Unknown
    on_engine: OnEngine = OnEngine()


def look(deadline: Deadline) -> Findings:
    """Read everything."""
    host, memory = Probe(read_host.read_host), Probe(read_host.read_memory)
    python = Probe(read_host.read_python)
    stacks = Probe(lambda: read_host.read_stacks(deadline))
    engine = Probe(lambda: read_engine.read_engine(deadline)).answer(deadline)
    answers = isinstance(engine, Engine)
    info = (
        Probe(lambda: read_engine.read_info(deadline)).answer(deadline) if answers else _NO_ENGINE
    )
    machine = info.architecture if isinstance(info, Info) else platform.machine()
    packages = Probe(lambda: read_host.read_packages(deadline, read_host.wheelhouse_key(machine)))
    on_engine = _look_at_engine(deadline, info) if answers else OnEngine()
    who = host.answer(deadline)
    return Findings(
        host=Host() if isinstance(who, Unknown) else who,
        engine=engine,
        memory=memory.answer(deadline),
        python=python.answer(deadline),
        packages=packages.answer(deadline),
        stacks=stacks.answer(deadline),
        on_engine=on_engine,
    )


def _look_at_engine(deadline: Deadline, info: Info | Unknown) -> OnEngine:
    endpoint = Probe(lambda: read_engine.read_endpoint(deadline))
    compose = Probe(lambda: read_engine.read_compose(deadline))
    buildkit = Probe(lambda: _build(deadline, compose))
    if isinstance(info, Unknown):
        return OnEngine(
            endpoint=endpoint.answer(deadline),
            info=info,
            compose=compose.answer(deadline),
            buildkit=buildkit.answer(deadline),
            disk_free=info,
            networks=info,
            images=info,
            inside=info,
        )
    networks = Probe(lambda: read_engine.read_networks(deadline, here=info.here))
    images = Probe(lambda: read_engine.read_images(deadline, info)).answer(deadline)
    at_hand = images if isinstance(images, Images) else Images("")
    inside = Probe(lambda: read_engine.read_inside(deadline, info, at_hand))
    registry = None
    if not at_hand.base:
        registry = Probe(lambda: read_engine.read_registry(deadline)).answer(deadline)
    return OnEngine(
        endpoint=endpoint.answer(deadline),
        info=info,
        compose=compose.answer(deadline),
        buildkit=buildkit.answer(deadline),
        disk_free=Probe(lambda: _disk_free(info, inside.answer(deadline))).answer(deadline),
        networks=networks.answer(deadline),
        images=images,
        inside=inside.answer(deadline),
        registry=registry,
    )


def _build(deadline: Deadline, compose: Probe[str]) -> str:
    if not compose.answer(deadline):
        raise ProbeError("needs Compose")
    return read_engine.read_buildkit(deadline)


def _disk_free(info: Info, inside: Inside | Unknown) -> int:
    if isinstance(inside, Inside) and inside.disk_free is not None:
        return inside.disk_free
    if info.here and Path(info.root).is_dir():
        return shutil.disk_usage(info.root).free
    raise ProbeError("the engine is on another machine, and has no image to look from yet")
