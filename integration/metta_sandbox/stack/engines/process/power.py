"""Ending, freezing and thawing whole nodes that are local processes."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from metta_sandbox.errors import StackError
from metta_sandbox.node.agent import kernel
from metta_sandbox.scenario.faults.nodes import RUNS, STANDS_STILL
from metta_sandbox.stack.engines.base import NodePower, Stack
from metta_sandbox.stack.marks import variables
from metta_sandbox.stack.owners import start_time


class ProcessPower(NodePower):
    """Power over nodes that are local processes.

    Args:
        stack: Theirs.
        mark: What their processes carry as ``METTA_STACK``.

    """

    def __init__(self, stack: Stack, mark: str) -> None:
        super().__init__(stack)
        self._mark = mark

    def signal(self, host: str, number: int) -> None:
        """Send a signal to the agent; with SIGKILL, to all that it has started as well."""
        pids = self._processes(host)
        if not pids:
            raise StackError(f"{host} has no process")
        targets = pids if number == signal.SIGKILL else pids[:1]
        for pid in targets:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def freeze(self, host: str) -> None:
        """Stop every process, until no new one is found; one that is stopped can fork no more."""
        self._signal_all(host, signal.SIGSTOP)

    def thaw(self, host: str) -> None:
        """Continue every process, the agent last: what it starts is never stopped."""
        for pid in reversed(self._processes(host)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def state(self, host: str) -> str:
        """Tell from the processes of a node whether it runs or stands still."""
        if end := self._stack.fallen().get(host):
            return end
        pids = self._processes(host)
        if not pids:
            return "has ended"
        found = (kernel.fields(f"/proc/{pid}/stat") for pid in pids)
        states = {fields[kernel.STATE] for fields in found if fields} - {"Z"}
        return STANDS_STILL if states == {"T"} else RUNS

    def _signal_all(self, host: str, number: int) -> None:
        told: set[int] = set()
        while new := [pid for pid in self._processes(host) if pid not in told]:
            for pid in new:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            told.update(new)

    def _processes(self, host: str) -> list[int]:
        """List a node's processes, the agent first: it is the oldest."""
        wanted = {f"METTA_STACK={self._mark}".encode(), f"METTA_NODE={host}".encode()}
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if wanted <= set(variables(entry)):
                    found.append((start_time(entry.name), int(entry.name)))
        return [pid for _, pid in sorted(found)]
