"""Our standing stack's containers: how they are, what they say, and a shell in one."""

from __future__ import annotations

import heapq
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from queue import Queue
from threading import Thread

from python_on_whales import Container, DockerClient
from python_on_whales.exceptions import NoSuchContainer

from metta_sandbox.stack.asking import groups_on, nodes_known
from metta_sandbox.stack.engines.base import HUB, RUN_FOLDER
from metta_sandbox.stack.engines.compose.request import AGENT, HOME, HUB_ADDRESS, WORKSPACE
from metta_sandbox.stack.engines.view import Shell, StackLogLine, StackMember
from metta_sandbox.stack.lease import LABEL
from metta_sandbox.stack.standing_record import PROJECT, StandingRecord, standing_run


class ContainersView:
    """Looks at a standing stack's containers.

    Args:
        record: The standing stack.

    """

    def __init__(self, record: StandingRecord) -> None:
        self._record = record
        self._docker = DockerClient()

    def part(self, host: str) -> StackMember:
        """Look at the container of a host."""
        name = f"{PROJECT}-{host}"
        rank = self._record.rank(host)
        with suppress(NoSuchContainer):
            container = self._docker.container.inspect(name)
            if _is_ours(container):
                return _container(container, host, rank)
        return StackMember(name, host, rank, "missing")

    def logs(self, hosts: tuple[str, ...], *, follow: bool) -> Iterator[StackLogLine]:
        """Yield lines of what the engine has logged."""
        with closing(DockerLogs(hosts)) as logs:
            yield from logs.merged()
            if follow:
                yield from logs.coming()

    def shell(self, host: str, job: Mapping[str, str]) -> Shell:
        """Say what opens a shell in a container."""
        words = [word for name, value in job.items() for word in ("--env", f"{name}={value}")]
        cwd = WORKSPACE if self._record.source else RUN_FOLDER
        terminal = ["--tty"] if sys.stdin.isatty() else []
        return Shell(
            ["docker", "exec", "--interactive", *terminal, "--workdir", cwd,
             "--env", f"HOME={HOME}", *words, f"{PROJECT}-{host}", "bash"],
        )  # fmt: skip


def strangers() -> tuple[str, ...]:
    """Name the containers that bear a standing stack's names, but are not of ours."""
    label = f"com.docker.compose.project={PROJECT}"
    names = []
    for container in DockerClient().container.list(all=True, filters=[("label", label)]):
        # It may be removed while we look.
        with suppress(NoSuchContainer):
            if not _is_ours(container):
                names.append(container.name)
    return tuple(sorted(names))


def _is_ours(container: Container) -> bool:
    labels = container.config.labels or {}
    return labels.get(f"{LABEL}.run") == standing_run()


def _container(container: Container, host: str, rank: int | None) -> StackMember:
    state = container.state
    networks = container.network_settings.networks or {}
    health = (state.health.status if state.health else "") or ""
    running: tuple[str, ...] = ()
    if state.status == "running":
        agent = ["docker", "exec", container.name, "python3", AGENT]
        if host == HUB:
            told = nodes_known([*agent, "nodes", f"--hub={HUB_ADDRESS}"])
        else:
            told = groups_on([*agent, "groups"])
        running = told or ()
        health = "silent" if told is None else health or "healthy"
    return StackMember(
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


class DockerLogs:
    """What ``docker logs`` prints, of several containers."""

    def __init__(self, hosts: tuple[str, ...]) -> None:
        self._hosts = hosts
        self._clients: list[subprocess.Popen[bytes]] = []
        #: By host, the stamp of the last line given, and how many lines bear it.
        self._last: dict[str, tuple[str, int]] = {}

    def close(self) -> None:
        """End all ``docker logs`` processes."""
        for client in self._clients:
            client.kill()

    def merged(self) -> Iterator[StackLogLine]:
        """Yield the lines that are there, by their time."""
        streams = [self._lines(host) for host in self._hosts]
        for line in heapq.merge(*streams, key=lambda one: one.stamp):
            last, many = self._last.get(line.host, ("", 0))
            self._last[line.host] = (line.stamp, many + 1 if line.stamp == last else 1)
            yield line

    def coming(self) -> Iterator[StackLogLine]:
        """Yield each line as it comes, until all containers have ended."""
        came: Queue[StackLogLine | None] = Queue(maxsize=10_000)

        def follow(host: str) -> None:
            last, many = self._last.get(host, ("", 0))
            # The engine repeats what was logged at that very moment.
            since = [f"--since={last}"] if last else []
            for line in self._lines(host, "--follow", *since):
                if line.stamp == last and many:
                    many -= 1
                else:
                    came.put(line)
            came.put(None)

        for host in self._hosts:
            Thread(target=follow, args=(host,), daemon=True).start()
        following = len(self._hosts)
        while following:
            line = came.get()
            if line is None:
                following -= 1
            else:
                yield line

    def _lines(self, host: str, *options: str) -> Iterator[StackLogLine]:
        command = ["docker", "logs", "--timestamps", *options, f"{PROJECT}-{host}"]
        client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._clients.append(client)
        with client:
            assert client.stdout is not None
            try:
                for line in client.stdout:
                    words = line.decode(errors="replace").rstrip("\n")
                    stamp, _, text = words.partition(" ")
                    yield StackLogLine(host, text, stamp)
            finally:
                client.kill()
