"""How a standing stack is: every container or process, and what runs on it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from metta_sandbox.scenario.names import API
from metta_sandbox.stack import standing
from metta_sandbox.stack.agent_app import install
from metta_sandbox.stack.engines import find_compose
from metta_sandbox.stack.process import ProcessStack
from metta_sandbox.stack.standing import PROJECT, Record

if TYPE_CHECKING:
    from python_on_whales import Container

#: Seconds within which whoever is well answers.
_PATIENCE = 10.0
#: How many are asked at once: each answer costs a process.
_AT_ONCE = 4


@dataclass(frozen=True)
class Part:
    """A container, or a process in its place.

    Args:
        name: What Docker calls it, or the host name.
        host: Its host name.
        rank: The node's rank, or None for a service.
        state: ``running``, ``exited``, …, or ``missing``.
        health: ``healthy`` (it answers), ``starting``, ``unhealthy``, ``silent``, or empty where
            nothing says.
        address: On the stack's network.
        running: What runs on it now, by process group.
        image: What it was made from.
        age: Seconds since it was started.

    """

    name: str
    host: str
    rank: int | None
    state: str
    health: str = ""
    address: str = ""
    running: tuple[str, ...] = ()
    image: str = ""
    age: float | None = None

    @property
    def ill(self) -> str:
        """What is wrong with it, or an empty string."""
        if self.state != "running":
            return f"{self.name} is {self.state}"
        return f"{self.name} is {self.health}" if self.health in {"unhealthy", "silent"} else ""


@dataclass(frozen=True)
class StackStatus:
    """The state of a standing stack."""

    engine: str
    parts: tuple[Part, ...]

    @property
    def ills(self) -> tuple[str, ...]:
        """What is wrong, a phrase each."""
        return tuple(part.ill for part in self.parts if part.ill)

    @property
    def well(self) -> bool:
        """Whether everything is there and answers."""
        return bool(self.parts) and not self.ills


def stack_status(record: Record) -> StackStatus:
    """Look at a standing stack.

    Raises:
        MachineError: The engine it is on does not answer.

    """
    look = _containers if record.engine == "compose" else _processes
    return StackStatus(record.engine, tuple(look(record)))


def strangers() -> tuple[str, ...]:
    """Name the containers that bear a standing stack's names, but are not of ours."""
    from python_on_whales import DockerClient  # noqa: PLC0415 - not needed for local processes
    from python_on_whales.exceptions import NoSuchContainer  # noqa: PLC0415

    label = f"com.docker.compose.project={standing.PROJECT}"
    names = []
    for container in DockerClient().container.list(all=True, filters=[("label", label)]):
        # It may be removed while we look.
        with suppress(NoSuchContainer):
            if not _is_ours(container):
                names.append(container.name)
    return tuple(sorted(names))


def _is_ours(container: Container) -> bool:
    from metta_sandbox.stack.lease import LABEL  # noqa: PLC0415

    labels = container.config.labels or {}
    return labels.get(f"{LABEL}.run") == standing.standing_run()


def _containers(record: Record) -> list[Part]:
    from python_on_whales import DockerClient  # noqa: PLC0415
    from python_on_whales.exceptions import NoSuchContainer  # noqa: PLC0415

    from metta_sandbox.stack.request import HUB  # noqa: PLC0415

    find_compose()
    docker = DockerClient()

    def look(host: str) -> Part:
        name = f"{PROJECT}-{host}"
        rank = record.hosts.index(host) if host in record.hosts else None
        with suppress(NoSuchContainer):
            container = docker.container.inspect(name)
            if _is_ours(container):
                return _container(container, host, rank)
        return Part(name, host, rank, "missing")

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(look, (*record.hosts, API, HUB)))


def _container(container: Container, host: str, rank: int | None) -> Part:
    from metta_sandbox.stack.request import AGENT, HUB  # noqa: PLC0415

    state = container.state
    networks = container.network_settings.networks or {}
    health = (state.health.status if state.health else "") or ""
    running: tuple[str, ...] = ()
    if state.status == "running" and host != HUB:
        groups = _groups(["docker", "exec", container.name, "python3", AGENT, "groups"])
        running = groups or ()
        health = "silent" if groups is None else health or "healthy"
    return Part(
        name=container.name,
        host=host,
        rank=rank,
        state=state.status or "unknown",
        health=health,
        address=next((one.ip_address or "" for one in networks.values()), ""),
        running=running,
        image=container.config.image or "",
        age=time.time() - state.started_at.timestamp() if state.started_at else None,
    )


def _processes(record: Record) -> list[Part]:
    stack = ProcessStack(record.plan(), record.python)
    agent = str(install(stack.folder)) if stack.folder.exists() else ""

    def look(host: str) -> Part:
        state = _process_state(stack.socket(host))
        command = [sys.executable, agent, "groups", f"--local={stack.socket(host)}"]
        groups = _groups(command) if state == "running" else None
        health = "silent" if state == "running" else ""
        if groups is not None:
            health = "healthy" if host != API or _answers(stack, record) else "unhealthy"
        return Part(
            name=host,
            host=host,
            rank=record.hosts.index(host) if host in record.hosts else None,
            state=state,
            health=health,
            address=stack.addresses[host],
            running=groups or (),
            image=record.python,
            age=time.time() - record.began,
        )

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(look, (*record.hosts, API)))


def _process_state(path: str) -> str:
    """Tell what has become of a process from its socket."""
    with socket.socket(socket.AF_UNIX) as channel:
        try:
            channel.connect(path)
        except FileNotFoundError:
            return "missing"
        except OSError:
            return "exited"
    return "running"


def _answers(stack: ProcessStack, record: Record) -> bool:
    """Tell whether the control plane is alive; of a container the engine knows that."""
    url = stack.service_environment(record.ready)["OBSERVATORY_URL"]
    # Whatever proxy the caller has knows nothing of this machine's loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/health", timeout=_PATIENCE) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


def _groups(command: Sequence[str]) -> tuple[str, ...] | None:
    """Ask an agent what it runs; None if it does not answer."""
    try:
        done = subprocess.run(
            list(command), capture_output=True, text=True, check=False, timeout=_PATIENCE
        )
        groups: list[dict[str, Any]] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return None
    return tuple(_told(group) for group in groups if group["status"] is None)


def _told(group: dict[str, Any]) -> str:
    ranks = [rank["rank"] for rank in group["ranks"] if rank["status"] is None]
    trained = f" (rank {', '.join(map(str, ranks))})" if ranks else ""
    return f"{group['group']}{trained}"
