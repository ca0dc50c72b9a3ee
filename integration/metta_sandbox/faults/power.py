"""Ending, freezing and thawing whole nodes, on either engine."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from metta_sandbox.errors import StackError
from metta_sandbox.scenario.faults.ground import RUNS, STANDS_STILL, Power
from metta_sandbox.stack.base import Stack, StackPlan
from metta_sandbox.stack.ends import container_status, describe_end
from metta_sandbox.stack.marks import variables
from metta_sandbox.stack.request import container_name


def power_over(stack: Stack, plan: StackPlan) -> Power:
    """Give what has power over a stack's nodes."""
    if stack.engine == "compose":
        return ContainerPower(stack, str(stack.describe()["project"]))
    return ProcessPower(stack, f"{plan.run}/{plan.scenario}")


class ProcessPower:
    """Power over nodes that are local processes.

    Args:
        stack: Theirs.
        mark: What their processes carry as ``METTA_STACK``.

    """

    def __init__(self, stack: Stack, mark: str) -> None:
        self._stack = stack
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

    def start(self, host: str) -> None:
        """Start its agent again."""
        self._stack.start_again(host)

    def state(self, host: str) -> str:
        """Read the agent's state."""
        if end := self._stack.fallen().get(host):
            return end
        pids = self._processes(host)
        if not pids:
            return "has ended"
        states = {_state(pid) for pid in pids} - {"", "Z"}
        return STANDS_STILL if states == {"T"} else RUNS

    def limit(self, host: str, *_limits: str) -> None:
        """Refuse: limits are set for containers."""
        raise StackError(f"{host} is no container")

    def read(self, host: str, *_paths: str) -> str:
        """Refuse: it sees what this machine does."""
        raise StackError(f"{host} is no container")

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
                    started = int((entry / "stat").read_bytes().rpartition(b")")[2].split()[19])
                    found.append((started, int(entry.name)))
        return [pid for _, pid in sorted(found)]


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0].decode()
    except OSError:
        return ""


class ContainerPower:
    """Power over nodes that are containers.

    Args:
        stack: Theirs.
        project: Their Compose project.

    """

    def __init__(self, stack: Stack, project: str) -> None:
        self._stack = stack
        self._project = project

    def signal(self, host: str, number: int) -> None:
        """Send a signal to the container's first process."""
        self._docker("kill", "--signal", str(int(number)), self._name(host))

    def freeze(self, host: str) -> None:
        """Pause the container."""
        self._docker("pause", self._name(host))

    def thaw(self, host: str) -> None:
        """Continue the container."""
        self._docker("unpause", self._name(host))

    def start(self, host: str) -> None:
        """Start the container again."""
        self._stack.start_again(host)

    def state(self, host: str) -> str:
        """Ask the engine."""
        form = "{{.State.Status}} {{.State.ExitCode}}"
        status, code = self._docker("inspect", "--format", form, self._name(host)).split()
        if status == "paused":
            return STANDS_STILL
        return RUNS if status == "running" else describe_end(container_status(int(code)))

    def limit(self, host: str, *limits: str) -> None:
        """Update the container."""
        self._docker("update", *limits, self._name(host))

    def read(self, host: str, *paths: str) -> str:
        """Have it read by a shell in the container."""
        tried = " || ".join(f"cat {path} 2>&-" for path in paths)
        return self._docker("exec", self._name(host), "sh", "-c", tried)

    def _name(self, host: str) -> str:
        return container_name(self._project, host)

    def _docker(self, *words: str) -> str:
        done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise StackError(f"docker {words[0]}: {done.stderr.strip()}")
        return done.stdout
