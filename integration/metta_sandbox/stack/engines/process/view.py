"""Our standing stack's processes: how they are, what they say, and a shell like one."""

from __future__ import annotations

import heapq
import os
import re
import socket
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from http import HTTPStatus
from pathlib import Path

from metta_sandbox.scenario.names import API
from metta_sandbox.stack.agent_app import install
from metta_sandbox.stack.asking import PATIENCE, groups_on, nodes_known
from metta_sandbox.stack.engines.base import HUB
from metta_sandbox.stack.engines.process.stack import ProcessStack
from metta_sandbox.stack.engines.view import Shell, StackLogLine, StackMember
from metta_sandbox.stack.standing_record import StandingRecord, standing_folder

#: Seconds between two looks at what has come.
_POLL = 0.2
#: The time of an event among what a process prints, in seconds since the epoch.
_WALL = re.compile(r'^\{"event":.*"wall": ?(\d+\.\d+)')


class ProcessesView:
    """Looks at a standing stack's processes.

    Args:
        record: The standing stack.

    """

    def __init__(self, record: StandingRecord) -> None:
        self._record = record
        self._stack = ProcessStack(record.plan(), record.python)

    def part(self, host: str) -> StackMember:
        """Look at the process of a host."""
        stack, record = self._stack, self._record
        path = stack.hub.removeprefix("unix:") if host == HUB else stack.socket(host)
        state = _state(path)
        running, health = None, ""
        if state == "running":
            health = "silent"
            agent = [sys.executable, self._agent]
            if host == HUB:
                running = nodes_known([*agent, "nodes", f"--hub={stack.hub}"])
            else:
                running = groups_on([*agent, "groups", f"--local={path}"])
        if running is not None:
            health = "healthy" if host != API or self._answers() else "unhealthy"
        return StackMember(
            name=host,
            host=host,
            rank=record.rank(host),
            state=state,
            health=health,
            address=stack.addresses.get(host, ""),
            running=running or (),
            image=record.python,
            age=time.time() - record.began,
        )

    @cached_property
    def _agent(self) -> str:
        return str(install(self._stack.folder))

    def _answers(self) -> bool:
        """Tell whether the control plane is alive; of a container the engine knows that."""
        url = self._stack.service_environment(self._record.ready)["OBSERVATORY_URL"]
        # Whatever proxy the caller has knows nothing of this machine's loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{url}/health", timeout=PATIENCE) as answer:
                return bool(answer.status == HTTPStatus.OK)
        except OSError:
            return False

    def logs(self, hosts: tuple[str, ...], *, follow: bool) -> Iterator[StackLogLine]:
        """Yield lines of the files that processes print to."""
        paths = {host: standing_folder() / "logs" / f"{host}.log" for host in hosts}
        positions: dict[str, int] = dict.fromkeys(hosts, 0)
        while True:
            read = []
            for host, path in paths.items():
                text, positions[host] = _from(path, positions[host])
                read.append(list(_stamped(host, text.split("\n")[:-1])))
            yield from heapq.merge(*read, key=lambda one: one.stamp)
            if not follow or not standing_folder().exists():
                return
            time.sleep(_POLL)

    def shell(self, host: str, job: Mapping[str, str]) -> Shell:
        """Say what opens a shell that sees what a node's processes see."""
        stack = self._stack
        env = {
            **stack.environment(host),
            **stack.service_environment(self._record.ready),
            **job,
            "PS1": f"{host}:\\w\\$ ",
            "TERM": os.environ.get("TERM", "dumb"),
        }
        interactive = ["-i"] if sys.stdin.isatty() else []
        command = ["bash", "--noprofile", "--norc", *interactive]
        return Shell(command, env, stack.working_folder())


def _state(path: str) -> str:
    """Tell what has become of a process from its socket."""
    with socket.socket(socket.AF_UNIX) as channel:
        try:
            channel.connect(path)
        except FileNotFoundError:
            return "missing"
        except OSError:
            return "exited"
    return "running"


def _stamped(host: str, lines: Iterable[str]) -> Iterator[StackLogLine]:
    """Stamp lines with the time of the event before them: plain text bears none."""
    stamp = ""
    for line in lines:
        if match := _WALL.search(line):
            stamp = max(stamp, f"{float(match[1]):020.6f}")
        yield StackLogLine(host, line, stamp)


def _from(path: Path, position: int) -> tuple[str, int]:
    """Read whole lines from a place in a file on, and return where they end."""
    if not path.exists():
        return "", position
    with path.open("rb") as file:
        file.seek(position)
        data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    return whole.decode(errors="replace"), position + len(whole)
