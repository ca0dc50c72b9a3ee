"""A task's log as it comes: all nodes' lines in one file, each with who said it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from metta_sandbox.masking import masked
from metta_sandbox.skypilot.logs import end_of_job, end_of_setup, prefix
from metta_sandbox.skypilot.played import SkyPilot

#: The artifact.
FILE_NAME = "run.log"


class TaskLog:
    """Writes what ``sky logs`` would show, and hands it on to whoever watches.

    Args:
        task: Whose log it is.
        hosts: The nodes' host names, by rank.
        path: The file.
        echo: Gets each line.

    """

    def __init__(
        self, task: SkyPilot, hosts: Sequence[str], path: Path, echo: Callable[[str], None]
    ) -> None:
        self._task = task
        self._hosts = tuple(hosts)
        self._path = path
        self._echo = echo
        self._addresses: Sequence[str] = ()
        self._pids: dict[tuple[str, bool], int] = {}
        self._ends: dict[tuple[str, bool], int] = {}

    def started(self, host: str, pid: int, addresses: Sequence[str], *, setup: bool) -> None:
        """Note that a node's commands have begun."""
        self._addresses = addresses
        self._pids[host, setup] = pid

    def line(self, host: str, text: str, *, setup: bool) -> None:
        """Write a line that a node's commands have printed."""
        if host not in self._hosts:
            return
        rank, pid = self._hosts.index(host), self._pids.get((host, setup), 0)
        addresses = self._addresses or self._hosts
        self._say(f"{prefix(self._task, rank, addresses, pid, setup=setup)} {text}")

    def ended(self, host: str, status: int, *, setup: bool) -> None:
        """Note how a node's commands ended."""
        self._ends[host, setup] = status

    def close(self) -> None:
        """Say how the job ended."""
        if not self._pids:
            return
        setups = [
            (self._pids[host, True], self._ends[host, True])
            for host in self._hosts
            if (host, True) in self._ends
        ]
        said = end_of_setup(setups)
        if not said and any(not setup for _, setup in self._pids):
            said = end_of_job([self._ends.get((host, False)) for host in self._hosts])
        if said:
            self._say(said)

    def _say(self, text: str) -> None:
        text = masked(text)
        with self._path.open("a", encoding="utf-8", errors="replace") as file:
            file.write(f"{text}\n")
        self._echo(text)
