"""How a standing stack is: every container or process, and what runs on it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from metta_sandbox.scenario.names import API
from metta_sandbox.stack import standing
from metta_sandbox.stack.agent_app import install
from metta_sandbox.stack.process import ProcessStack
from metta_sandbox.stack.standing import PROJECT, Record

_PATIENCE = 10.0


@dataclass(frozen=True)
class Part:
    """A container, or a process in its place.

    Args:
        name: What Docker calls it, or the host name.
        host: Its host name.
        rank: The node's rank, or None for a service.
        state: ``running``, ``exited``, …, or ``missing``.
        health: ``healthy``, ``starting``, ``unhealthy``, or empty where nothing says.
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
    """Look at a standing stack."""
    look = _containers if record.engine == "compose" else _processes
    return StackStatus(record.engine, tuple(look(record)))


def _containers(record: Record) -> list[Part]:
    from python_on_whales import DockerClient  # noqa: PLC0415 - not needed for local processes

    from metta_sandbox.stack.lease import LABEL  # noqa: PLC0415
    from metta_sandbox.stack.request import AGENT, HUB  # noqa: PLC0415

    docker = DockerClient()
    label = {"label": f"{LABEL}.run={standing.RUN}"}
    found = {one.name: one for one in docker.container.list(all=True, filters=label)}
    parts = []
    for host in (*record.hosts, API, HUB):
        name = f"{PROJECT}-{host}"
        container = found.get(name)
        rank = record.hosts.index(host) if host in record.hosts else None
        if container is None:
            parts.append(Part(name, host, rank, "missing"))
            continue
        state = container.state
        networks = container.network_settings.networks or {}
        health = state.health.status if state.health else ""
        running: tuple[str, ...] = ()
        if state.running and host != HUB:
            groups = _groups(["docker", "exec", name, "python3", AGENT, "groups"])
            running, health = groups or (), health if groups is not None else "silent"
        parts.append(
            Part(
                name=name,
                host=host,
                rank=rank,
                state=state.status or "unknown",
                health=health or "",
                address=next((one.ip_address or "" for one in networks.values()), ""),
                running=running,
                image=container.config.image or "",
                age=time.time() - state.started_at.timestamp() if state.started_at else None,
            )
        )
    return parts


def _processes(record: Record) -> list[Part]:
    stack = ProcessStack(record.plan(), record.python)
    agent = str(install(stack.folder)) if stack.folder.exists() else ""
    parts = []
    for host in (*record.hosts, API):
        rank = record.hosts.index(host) if host in record.hosts else None
        command = [sys.executable, agent, "groups", f"--local={stack.socket(host)}"]
        groups = _groups(command) if agent else None
        parts.append(
            Part(
                name=host,
                host=host,
                rank=rank,
                state="missing" if groups is None else "running",
                address=stack.addresses[host],
                running=groups or (),
                image=record.python,
                age=time.time() - record.began,
            )
        )
    return parts


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
