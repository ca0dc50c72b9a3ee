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
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from metta_sandbox.node.agent.fork_server.client import WARM
from metta_sandbox.scenario.names import API
from metta_sandbox.stack import standing
from metta_sandbox.stack.agent_app import install
from metta_sandbox.stack.engines import find_compose
from metta_sandbox.stack.engines.compose.request import AGENT, HUB, HUB_ADDRESS
from metta_sandbox.stack.engines.process.stack import ProcessStack
from metta_sandbox.stack.standing import PROJECT, Record

if TYPE_CHECKING:
    from python_on_whales import Container

#: Seconds within which whoever is well answers.
_PATIENCE = 10.0
#: How many are asked at once: each answer costs a process.
_AT_ONCE = 4


_ILL = frozenset({"unhealthy", "silent", "cut off"})


@dataclass(frozen=True)
class Part:
    """A container, or a process in its place.

    Args:
        name: What Docker calls it, or the host name.
        host: Its host name.
        rank: The node's rank, or None for a service.
        state: ``running``, ``exited``, …, or ``missing``.
        health: ``healthy`` (it answers), ``starting``, ``unhealthy``, ``silent``, or ``cut off``
            (the hub does not know it); empty where nothing says.
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
        return f"{self.name} is {self.health}" if self.health in _ILL else ""


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
    parts = look(record)
    hub = next(part for part in parts if part.host == HUB)
    # The hub's list tells who is there only where the hub itself answers.
    known = (*hub.running, HUB) if hub.health == "healthy" else record.hosts
    shown = [replace(part, running=()) if part is hub else part for part in parts]
    return StackStatus(record.engine, tuple(_unless_cut_off(part, known) for part in shown))


def _unless_cut_off(part: Part, known: Sequence[str]) -> Part:
    cut_off = part.rank is not None and part.health == "healthy" and part.host not in known
    return replace(part, health="cut off") if cut_off else part


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
    state = container.state
    networks = container.network_settings.networks or {}
    health = (state.health.status if state.health else "") or ""
    running: tuple[str, ...] = ()
    if state.status == "running":
        agent = ["docker", "exec", container.name, "python3", AGENT]
        if host == HUB:
            told = _nodes([*agent, "nodes", f"--hub={HUB_ADDRESS}"])
        else:
            told = _groups([*agent, "groups"])
        running = told or ()
        health = "silent" if told is None else health or "healthy"
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
        path = stack.hub.removeprefix("unix:") if host == HUB else stack.socket(host)
        state = _process_state(path)
        groups = None
        if state == "running" and host == HUB:
            groups = _nodes([sys.executable, agent, "nodes", f"--hub={stack.hub}"])
        elif state == "running":
            groups = _groups([sys.executable, agent, "groups", f"--local={path}"])
        health = "silent" if state == "running" else ""
        if groups is not None:
            health = "healthy" if host != API or _answers(stack, record) else "unhealthy"
        return Part(
            name=host,
            host=host,
            rank=record.hosts.index(host) if host in record.hosts else None,
            state=state,
            health=health,
            address=stack.addresses.get(host, ""),
            running=groups or (),
            image=record.python,
            age=time.time() - record.began,
        )

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(look, (*record.hosts, API, HUB)))


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
    groups: list[dict[str, Any]] | None = _asked(command)
    if groups is None:
        return None
    # A process that waits until ranks are forked from it is none of the user's.
    alive = (group for group in groups if group["status"] is None)
    return tuple(_told(group) for group in alive if not group["group"].startswith(WARM))


def _nodes(command: Sequence[str]) -> tuple[str, ...] | None:
    """Ask the hub which nodes it knows; None if it does not answer."""
    nodes: list[str] | None = _asked(command)
    return None if nodes is None else tuple(nodes)


def _asked(command: Sequence[str]) -> Any:
    try:
        done = subprocess.run(
            list(command), capture_output=True, text=True, check=False, timeout=_PATIENCE
        )
        return json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return None


def _told(group: dict[str, Any]) -> str:
    ranks = [rank["rank"] for rank in group["ranks"] if rank["status"] is None]
    trained = f" (rank {', '.join(map(str, ranks))})" if ranks else ""
    return f"{group['group']}{trained}"
