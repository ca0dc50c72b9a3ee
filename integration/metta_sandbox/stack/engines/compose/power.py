"""Ending, freezing and thawing whole nodes that are containers."""

from __future__ import annotations

from metta_sandbox.errors import StackError
from metta_sandbox.scenario.faults.nodes import RUNS, STANDS_STILL
from metta_sandbox.stack.ends import container_status, describe_end
from metta_sandbox.stack.engines.base import NodePower, Stack
from metta_sandbox.stack.engines.compose.containers import docker
from metta_sandbox.stack.engines.compose.request import container_name


class ContainerPower(NodePower):
    """Power over nodes that are containers.

    Args:
        stack: Theirs.
        project: Their Compose project.

    """

    def __init__(self, stack: Stack, project: str) -> None:
        super().__init__(stack)
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

    def state(self, host: str) -> str:
        """Ask the engine for the state of the container."""
        form = "{{.State.Status}} {{.State.ExitCode}}"
        status, code = self._docker("inspect", "--format", form, self._name(host)).split()
        if status == "paused":
            return STANDS_STILL
        return RUNS if status == "running" else describe_end(container_status(int(code)))

    def limit(self, host: str, *limits: str) -> None:
        """Set limits of the container by ``docker update``."""
        self._docker("update", *limits, self._name(host))

    def read(self, host: str, *paths: str) -> str:
        """Read the file through a shell in the container."""
        tried = " || ".join(f"cat {path} 2>&-" for path in paths)
        return self._docker("exec", self._name(host), "sh", "-c", tried)

    def _name(self, host: str) -> str:
        return container_name(self._project, host)

    def _docker(self, *words: str) -> str:
        done = docker(*words)
        if done.returncode:
            raise StackError(f"docker {words[0]}: {done.stderr.strip()}")
        return done.stdout
