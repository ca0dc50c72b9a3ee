"""What is read from the engine, through the ``docker`` command. Nothing is judged here."""

from __future__ import annotations

import json
import platform
import re
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from metta_sandbox.doctor import inside
from metta_sandbox.doctor.item import NEEDS_AN_ENGINE
from metta_sandbox.doctor.probe import Deadline, ProbeError, SilentError
from metta_sandbox.doctor.read_host import wheelhouse_key
from metta_sandbox.image.base_image import DEFAULT_BASE_IMAGE, BaseImage
from metta_sandbox.image.debian_base import DebianBase
from metta_sandbox.image.node_image import ImageSpec, build_inputs
from metta_sandbox.image.node_platform import NodePlatform
from metta_sandbox.node.agent.sidecars import netfilter
from metta_sandbox.stack.engines.compose.subnet import SUBNETS, host_routes, read_subnets
from metta_sandbox.stack.lease import Owner, lease

#: Seconds after which an engine counts as silent; the rest of the time is for what follows.
_ENGINE_PATIENCE = 3.0
_PROBE_IMAGE = "metta-sandbox-doctor"
_SHARED_MEMORY = "2g"
_DATE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)")

#: What ``inside`` imports of ours.
_BORROWED = "from metta_sandbox.node.agent.sidecars.netfilter import Netfilter\n"
#: Python in a user and network namespace of its own, for which nobody needs to be root.
NAMESPACE = ("unshare", "--user", "--map-root-user", "--net", sys.executable, "-")

#: Parses what only BuildKit can, and builds next to nothing. BuildKit leaves the first stage out.
_DOCKERFILE = """FROM scratch AS unused
RUN --mount=type=bind,target=/unused true
FROM scratch
COPY compose.yaml /
"""
_COMPOSE_FILE: Mapping[str, Any] = {
    "services": {"probe": {"image": _PROBE_IMAGE, "build": {"context": ".", "network": "none"}}}
}


class EngineFailure(str, Enum):
    """Why there is no engine."""

    NO_CLIENT = "no Docker client is installed"
    DENIED = "this user may not talk to the Docker engine"
    SILENT = "the Docker engine does not answer"
    DOWN = "no Docker engine answers"


class NoEngineError(ProbeError):
    """There is no engine; says why in our words, and in Docker's."""

    def __init__(self, failure: EngineFailure, words: str = "") -> None:
        super().__init__(NEEDS_AN_ENGINE)
        self.failure = failure
        self.words = words


@dataclass(frozen=True)
class EngineVersion:
    """An engine that answers.

    Args:
        version: Its own.
        api: That of its interface, such as ``1.41``.
        system: ``linux`` or ``windows``.
        product: The name of its first part: ``Engine`` for Docker's.

    """

    version: str
    api: str
    system: str
    product: str


@dataclass(frozen=True)
class EngineInfo:
    """What ``docker info`` says, as far as it matters here.

    Args:
        architecture: The engine's word for it.
        distribution: What the engine's machine runs.
        kernel: The engine's kernel release.
        memory: What its machine has, in bytes.
        cgroup: ``1`` or ``2``.
        limits_memory: Whether containers can be given a memory limit.
        root: Where images are kept, on its machine.
        rootless: Whether it runs without root.
        here: Whether that is this machine.
        skew: Seconds between its clock and ours.

    """

    architecture: str
    distribution: str
    kernel: str
    memory: int
    cgroup: str
    limits_memory: bool
    root: str
    rootless: bool
    here: bool
    skew: float


@dataclass(frozen=True)
class ImagesFound:
    """What of the images is on the engine.

    Args:
        base: The base image's name, or an empty string.
        node: The node image's name as of now; empty where the base is missing.
        built: Whether the node image is there.

    """

    base: str
    node: str = ""
    built: bool = False


@dataclass(frozen=True)
class Inside:
    """What was found by a program that ran where containers do.

    Args:
        nfqueue: Whether the kernel hands packets over: ``present``, ``absent``, or why that can't
            be told.
        disk_free: Bytes free where images are kept; None where no container was run.
        shared_memory: Bytes a container got of the 2 GB asked for; None the same.

    """

    nfqueue: str
    disk_free: int | None
    shared_memory: int | None


def read_engine(deadline: Deadline) -> EngineVersion:
    """Ask the engine for its version.

    Raises:
        NoEngineError: There is none, or it does not answer this user.

    """
    if shutil.which("docker") is None:
        raise NoEngineError(EngineFailure.NO_CLIENT)
    try:
        said = deadline.ask(
            "docker", "version", "--format", "{{json .Server}}", limit=_ENGINE_PATIENCE
        )
    except SilentError as error:
        raise NoEngineError(EngineFailure.SILENT, str(error)) from None
    if said.status:
        denied = "permission denied" in said.err.lower()
        raise NoEngineError(EngineFailure.DENIED if denied else EngineFailure.DOWN, said.last_line)
    server = json.loads(said.out)
    components = [part["Name"] for part in server.get("Components") or ()]
    return EngineVersion(
        version=server["Version"],
        api=server["ApiVersion"],
        system=server["Os"],
        product=components[0] if components else "Engine",
    )


def read_info(deadline: Deadline) -> EngineInfo:
    """Ask the engine about its machine."""
    before = time.time()
    out = deadline.ask("docker", "info", "--format", "{{json .}}").checked("docker info")
    return parse_info(json.loads(out), before, time.time())


def parse_info(info: Mapping[str, Any], before: float, after: float) -> EngineInfo:
    """Pick from ``docker info`` what matters here.

    Args:
        info: The engine's answer.
        before: This machine's time before it was asked, in seconds since 1970.
        after: The same after the answer.

    """
    here = (info["Name"], info["KernelVersion"]) == (socket.gethostname(), platform.release())
    return EngineInfo(
        architecture=info["Architecture"],
        distribution=info["OperatingSystem"],
        kernel=info["KernelVersion"],
        memory=info["MemTotal"],
        cgroup=info.get("CgroupVersion") or "1",
        limits_memory=info["MemoryLimit"],
        root=info["DockerRootDir"],
        rootless=any("rootless" in option for option in info.get("SecurityOptions") or ()),
        here=here,
        skew=skew(_seconds(info["SystemTime"]), before, after),
    )


def skew(theirs: float, before: float, after: float) -> float:
    """Return by how much a clock is off for certain, if it was read between two moments of ours."""
    return max(before - theirs, theirs - after, 0.0)


def _seconds(text: str) -> float:
    """Read RFC 3339 with nanoseconds, which Python before 3.11 can't."""
    match = _DATE.fullmatch(text)
    if match is None:
        raise ProbeError(f"the engine's time can't be read: {text}")
    zone = "+00:00" if match[3] == "Z" else match[3]
    whole = datetime.fromisoformat(match[1] + zone).astimezone(timezone.utc)
    return whole.timestamp() + float(match[2] or 0)


def read_compose(deadline: Deadline) -> str:
    """Return the version of the Compose plugin, or an empty string."""
    said = deadline.ask("docker", "compose", "version", "--short")
    return said.out.strip().lstrip("v") if said.status == 0 else ""


def read_endpoint(deadline: Deadline) -> str:
    """Return where the client looks for the engine, such as ``unix:///var/run/docker.sock``."""
    form = "{{.Endpoints.docker.Host}}"
    return deadline.ask("docker", "context", "inspect", "--format", form).out.strip()


def read_buildkit(deadline: Deadline) -> str:
    """Build a tiny image with a feature of BuildKit's; return what went wrong, or nothing."""
    with tempfile.TemporaryDirectory(prefix="metta-doctor-") as folder:
        compose_file = Path(folder) / "compose.yaml"
        compose_file.write_text(json.dumps(_COMPOSE_FILE))
        (Path(folder) / "Dockerfile").write_text(_DOCKERFILE)
        compose = ("docker", "compose", "-p", _PROBE_IMAGE, "-f", str(compose_file))
        said = deadline.ask(*compose, "build", "--quiet")
    # Another doctor may have removed it, or may need it still: both build it from the cache.
    deadline.ask("docker", "image", "rm", "--force", _PROBE_IMAGE)
    return said.last_line if said.status else ""


def read_networks(deadline: Deadline, *, here: bool) -> list[IPv4Network]:
    """List the subnets of the engine's networks, and this machine's routes if it runs there."""
    ids = deadline.ask("docker", "network", "ls", "--quiet").checked("docker network ls").split()
    # One that was removed since it was listed fails the command; the others are told all the same.
    said = deadline.ask("docker", "network", "inspect", *SUBNETS, *ids)
    return [*read_subnets(said.out), *(host_routes() if here else ())]


def read_images(deadline: Deadline, info: EngineInfo) -> ImagesFound:
    """See whether base and node image are on the engine, as a run would."""
    machine = NodePlatform.of_engine(info.architecture)
    wheels = wheelhouse_key(info.architecture)
    for base in (DEFAULT_BASE_IMAGE, DebianBase(machine.debian_architecture).tag):
        if base_id := _image_id(deadline, base):
            present = BaseImage(base, base_id, 0.0, "present")
            node = build_inputs(ImageSpec(), present, wheels).tag
            return ImagesFound(base, node, bool(_image_id(deadline, node)))
    return ImagesFound("")


def _image_id(deadline: Deadline, name: str) -> str:
    said = deadline.ask("docker", "image", "inspect", "--format", "{{.Id}}", name)
    if said.status and "no such" not in said.err.lower():
        raise ProbeError(f"docker image inspect: {said.last_line}")
    return said.out.strip()


def read_registry(deadline: Deadline) -> str:
    """Return why the base image can't be pulled, or an empty string; the client asks, no engine."""
    try:
        said = deadline.ask("docker", "manifest", "inspect", DEFAULT_BASE_IMAGE)
    except SilentError:
        return "its registry does not answer"
    return said.last_line if said.status else ""


def read_inside(deadline: Deadline, info: EngineInfo, images: ImagesFound) -> Inside:
    """Run a program where containers run, and return what it found.

    In a container if there is an image with Python; else in a namespace of this machine, if that
    is where the engine runs.

    Raises:
        ProbeError: Neither can be had.

    """
    script = inside_script()
    if images.base:
        owner = Owner(f"doctor-{secrets.token_hex(4)}")
        with lease(owner):
            image = images.node if images.built else images.base
            said = deadline.ask(*container_command(image, owner.labels()), given=script)
        return parse_inside(said.checked("a container"), contained=True)
    if info.here and shutil.which("unshare"):
        said = deadline.ask(*NAMESPACE, given=script)
        return parse_inside(said.checked("a network namespace"), contained=False)
    raise ProbeError("no image to look from yet: it is told once the node image is built")


def inside_script() -> str:
    """Return the program that looks around, with what it borrows of the agent's put in its place.

    Where it runs there is no package of ours.
    """
    text = Path(inside.__file__).read_text()
    return text.replace(_BORROWED, Path(netfilter.__file__).read_text())


def read_disk_free(info: EngineInfo, seen: Inside) -> int:
    """Return the bytes that are free where images are kept.

    Raises:
        ProbeError: That can't be seen from here.

    """
    if seen.disk_free is not None:
        return seen.disk_free
    if info.here and Path(info.root).is_dir():
        return shutil.disk_usage(info.root).free
    raise ProbeError("the engine is on another machine, and has no image to look from yet")


def container_command(image: str, labels: Mapping[str, str]) -> list[str]:
    """Return the command that runs Python from standard input in a container cut off from all."""
    command = ["docker", "run", "--rm", "--interactive", "--network=none", "--user=0:0"]
    command += ["--read-only", f"--shm-size={_SHARED_MEMORY}", "--entrypoint=python3"]
    command += ["--cap-drop=ALL", "--cap-add=NET_ADMIN", "--cap-add=NET_RAW"]
    command += [f"--label={name}={value}" for name, value in labels.items()]
    return [*command, image, "-"]


def parse_inside(text: str, *, contained: bool) -> Inside:
    """Read what the script printed; sizes mean nothing outside a container."""
    found = json.loads(text)
    return Inside(
        nfqueue=found["nfqueue"],
        disk_free=found["disk_free"] if contained else None,
        shared_memory=found["shared_memory"] if contained else None,
    )
