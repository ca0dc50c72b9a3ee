"""Containers that join a node to strike it from beside it, and are gone with whoever started them.

Each lives as long as its standard input is open, so also a harness that is killed leaves none. As
one of the stack's Compose project it goes with that at the latest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from metta_sandbox.errors import StackError
from metta_sandbox.stack.engines.base import HUB
from metta_sandbox.stack.engines.compose.containers import docker
from metta_sandbox.stack.engines.compose.request import (
    AGENT,
    INTERPRETER,
    PLAIN,
    container_name,
)
from metta_sandbox.stack.engines.sidecars import Sidecar, Sidecars

_LOOK = "{{json .}}"
#: What a container of a Compose project is known by.
_PROJECT = "com.docker.compose.project"


@dataclass(frozen=True)
class SidecarBase:
    """What containers beside a stack's nodes are made of, as its hub is.

    Args:
        project: The stack's Compose project.
        image: The image's id.
        labels: What everything of the stack carries.

    """

    project: str
    image: str
    labels: Mapping[str, str]


def sidecar_base_of(project: str, hub: Mapping[str, Any]) -> SidecarBase:
    """Read what sidecars are made of from what the engine says of the hub's container."""
    said = hub["Config"]["Labels"]
    labels = {key: value for key, value in said.items() if not key.startswith("com.docker.")}
    return SidecarBase(project, hub["Image"], labels)


@dataclass(frozen=True)
class SidecarSpec:
    """What a kind of sidecar is for, and may do.

    Args:
        name: Ends its service's name.
        joins: What of its host's it shares, and nothing else.
        capabilities: What root needs there; it has no others.
        program: The program of the agent's file that it runs.
        security: Further options of security, as the engine takes them.

    """

    name: str
    joins: Literal["network", "pid"]
    capabilities: tuple[str, ...]
    program: str
    security: tuple[str, ...] = ()


def sidecar_request(base: SidecarBase, host: str, spec: SidecarSpec) -> list[str]:
    """Build the words after ``docker`` that start one beside a host."""
    service = f"{host}-{spec.name}"
    compose = {
        _PROJECT: base.project,
        "com.docker.compose.service": service,
        "com.docker.compose.oneoff": "False",
    }
    labels = {**base.labels, **compose}
    return [
        *("run", "--rm", "--interactive", "--pull=never", "--read-only", "--user=0:0"),
        f"--name={container_name(base.project, service)}",
        *_joined(spec, container_name(base.project, host)),
        "--cap-drop=ALL",
        *(f"--cap-add={each}" for each in spec.capabilities),
        *(f"--security-opt={each}" for each in ("no-new-privileges:true", *spec.security)),
        # The file of programs, where the hub has it.
        f"--volumes-from={container_name(base.project, HUB)}:ro",
        *(f"--label={key}={value}" for key, value in sorted(labels.items())),
        *(f"--entrypoint={INTERPRETER}", base.image, *PLAIN, AGENT, spec.program),
    ]


def _joined(spec: SidecarSpec, host: str) -> list[str]:
    if spec.joins == "network":
        return [f"--network=container:{host}"]
    return [f"--pid=container:{host}", "--network=none"]


NETWORK = SidecarSpec("network", "network", ("NET_ADMIN", "NET_RAW"), "netfault")
#: To enter the node's view of the file system, to mount something there, and to let it be the
#: node's. AppArmor's usual profile of containers lets nobody mount anything.
DISK = SidecarSpec(
    "disk",
    "pid",
    ("SYS_PTRACE", "SYS_CHROOT", "SYS_ADMIN", "DAC_OVERRIDE", "CHOWN"),
    "fill",
    ("apparmor=unconfined",),
)


class SidecarContainers(Sidecars):
    """The sidecars of one kind beside the containers of one stack.

    Args:
        project: The stack's Compose project.
        spec: What they are for.

    """

    def __init__(self, project: str, spec: SidecarSpec) -> None:
        super().__init__()
        self._project = project
        self._spec = spec

    def make(self, hosts: Sequence[str]) -> Iterator[Sidecar]:
        """Start a container beside each host, from the hub's image."""
        hub, *found = self._inspect([HUB, *hosts])
        base = sidecar_base_of(self._project, hub)
        for host, container in zip(hosts, found, strict=True):
            command = ["docker", *sidecar_request(base, host, self._spec)]
            address = address_of(container) if self._spec.joins == "network" else ""
            yield Sidecar(command, host, address)

    def _inspect(self, services: Sequence[str]) -> list[dict[str, Any]]:
        names = [container_name(self._project, service) for service in services]
        said = docker("container", "inspect", "--format", _LOOK, *names)
        if said.returncode:
            raise StackError(f"docker container inspect: {said.stderr.strip()}")
        return [json.loads(line) for line in said.stdout.splitlines()]


def address_of(container: Mapping[str, Any]) -> str:
    """Read a container's address from what the engine says of it.

    Raises:
        StackError: It is on no network.

    """
    networks = container["NetworkSettings"]["Networks"].values()
    found = next((str(each["IPAddress"]) for each in networks if each["IPAddress"]), "")
    if not found:
        raise StackError(f"{container['Name'].lstrip('/')} has no address")
    return found
