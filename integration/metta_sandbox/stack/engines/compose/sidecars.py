"""Containers that join a node to strike it from beside it, and are gone with whoever started them.

Each lives as long as its standard input is open, so also a harness that is killed leaves none. As
one of the stack's Compose project it goes with that at the latest.
"""

from __future__ import annotations

import json
import subprocess
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from metta_sandbox.errors import StackError
from metta_sandbox.stack.engines.base import HUB
from metta_sandbox.stack.engines.compose.request import (
    AGENT,
    INTERPRETER,
    PLAIN,
    container_name,
)
from metta_sandbox.stack.engines.sidecars import NetworkSidecar, S, Sidecar, Sidecars

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
    """Read it from what the engine says of the hub's container."""
    said = hub["Config"]["Labels"]
    labels = {key: value for key, value in said.items() if not key.startswith("com.docker.")}
    return SidecarBase(project, hub["Image"], labels)


@dataclass(frozen=True)
class SidecarSpec:
    """What one is for.

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
    """Build the words that start one beside a host, after the engine's client's own."""
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


class _Containers(Sidecars[S]):
    """Those beside the containers of one stack.

    Args:
        docker: The words that begin a command of the engine's client.
        project: The stack's Compose project.

    """

    #: What they are for.
    spec: ClassVar[SidecarSpec]

    def __init__(self, docker: Sequence[str], project: str) -> None:
        super().__init__()
        self._docker = list(docker)
        self._project = project

    @abstractmethod
    def make_one(self, command: Sequence[str], host: str, container: Mapping[str, Any]) -> S:
        """Make one.

        Args:
            command: What starts it.
            host: Beside whom it is.
            container: What the engine says of that.

        """

    def make(self, hosts: Sequence[str]) -> Iterator[S]:
        """Start containers of what the hub's is made of."""
        hub, *found = self._inspect([HUB, *hosts])
        base = sidecar_base_of(self._project, hub)
        for host, container in zip(hosts, found, strict=True):
            command = [*self._docker, *sidecar_request(base, host, self.spec)]
            yield self.make_one(command, host, container)

    def _inspect(self, services: Sequence[str]) -> list[dict[str, Any]]:
        names = [container_name(self._project, service) for service in services]
        done = subprocess.run(
            [*self._docker, "container", "inspect", "--format", _LOOK, *names],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise StackError(f"docker container inspect: {done.stderr.strip()}")
        return [json.loads(line) for line in done.stdout.splitlines()]


class DiskSidecars(_Containers[Sidecar]):
    """Those that fill the disks that nodes see."""

    spec = DISK

    def make_one(self, command: Sequence[str], host: str, _container: Mapping[str, Any]) -> Sidecar:
        """Make one."""
        return Sidecar(command, host)


class NetworkSidecars(_Containers[NetworkSidecar]):
    """Those that strike the network of hosts."""

    spec = NETWORK

    def make_one(
        self, command: Sequence[str], host: str, container: Mapping[str, Any]
    ) -> NetworkSidecar:
        """Make one."""
        return NetworkSidecar(command, host, address_of(container))


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
