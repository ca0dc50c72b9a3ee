"""Containers that join a node to strike it from beside it, and are gone with whoever started them.

Each lives as long as its standard input is open, so also a harness that is killed leaves none. As
one of the stack's Compose project it goes with that at the latest.
"""

from __future__ import annotations

import json
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Timer
from typing import Any, ClassVar, Generic, Literal, TypeVar

from metta_sandbox.errors import StackError
from metta_sandbox.stack.engines.base import HUB
from metta_sandbox.stack.engines.compose.request import AGENT, PLAIN, container_name

#: Seconds that one gets to be there, to answer beyond what it was told to wait for, and to end.
_STARTING, _ANSWERING, _ENDING = 30.0, 20.0, 5.0
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
        *("--entrypoint=python3", base.image, *PLAIN, AGENT, spec.program),
    ]


def _joined(spec: SidecarSpec, host: str) -> list[str]:
    if spec.joins == "network":
        return [f"--network=container:{host}"]
    return [f"--pid=container:{host}", "--network=none"]


class Sidecar:
    """One such container.

    Args:
        command: What starts it.
        host: Beside whom it is.

    """

    def __init__(self, command: Sequence[str], host: str) -> None:
        self.host = host
        # In a session of its own, so that Ctrl-C at the terminal does not end it before its time.
        self._client = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        #: What it has said first.
        self.greeting: Mapping[str, Any] = {}

    def await_ready(self) -> None:
        """Wait until it can be told what to do.

        Raises:
            StackError: It does not start, or can't do what it is for.

        """
        self.greeting = self._line(_STARTING)

    def ask(self, verb: str, patience: float = 0.0, **args: Any) -> Any:
        """Have it do something.

        Args:
            verb: What.
            patience: Seconds that this takes by itself.
            args: How.

        Raises:
            StackError: It refuses, or is gone.

        """
        assert self._client.stdin is not None
        try:
            self._client.stdin.write(json.dumps({"verb": verb, "args": args}) + "\n")
            self._client.stdin.flush()
        except (OSError, ValueError):  # it has ended, or was ended
            raise StackError(f"nobody is beside {self.host} any more{self._saying()}") from None
        answer = self._line(patience + _ANSWERING)
        if "error" in answer:
            raise StackError(f"beside {self.host}: {answer['error']}")
        return answer["result"]

    def _line(self, patience: float) -> Any:
        assert self._client.stdout is not None
        # It is of no more use, once it is late.
        timer = Timer(patience, self._client.kill)
        timer.start()
        try:
            line = self._client.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            raise StackError(f"what is beside {self.host} does not answer{self._saying()}")
        return json.loads(line)

    def _saying(self) -> str:
        said = self.close().strip().splitlines()
        return f": {said[-1]}" if said else ""

    def close(self) -> str:
        """End it, and all that it does. Doing it twice is no error.

        Returns:
            What it, or the engine's client, complained of; nothing the second time.

        """
        said = ""
        self._end()
        for pipe in (self._client.stdout, self._client.stderr):
            assert pipe is not None
            if not pipe.closed:
                said = pipe.read()
                pipe.close()
        return said

    def _end(self) -> None:
        assert self._client.stdin is not None
        with suppress(OSError):
            self._client.stdin.close()
        try:
            self._client.wait(_ENDING)
        except subprocess.TimeoutExpired:
            self._client.kill()
            self._client.wait()


S = TypeVar("S", bound=Sidecar)


class Sidecars(ABC, Generic[S]):
    """Those beside the hosts of one stack, each started when it is first asked for.

    Args:
        docker: The words that begin a command of the engine's client.
        project: The stack's Compose project.

    """

    #: What they are for.
    spec: ClassVar[SidecarSpec]

    def __init__(self, docker: Sequence[str], project: str) -> None:
        self._docker = list(docker)
        self._project = project
        self._sidecars: dict[str, S] = {}

    @abstractmethod
    def make(self, command: Sequence[str], host: str, container: Mapping[str, Any]) -> S:
        """Make one.

        Args:
            command: What starts it.
            host: Beside whom it is.
            container: What the engine says of that.

        """

    def start(self, hosts: Sequence[str]) -> None:
        """Start those that are not there yet, all at once.

        Raises:
            StackError: One does not start.

        """
        wanted = [host for host in dict.fromkeys(hosts) if host not in self._sidecars]
        if not wanted:
            return
        hub, *found = self._inspect([HUB, *wanted])
        base = sidecar_base_of(self._project, hub)
        for host, container in zip(wanted, found, strict=True):
            command = [*self._docker, *sidecar_request(base, host, self.spec)]
            self._sidecars[host] = self.make(command, host, container)
        try:
            for host in wanted:
                self._sidecars[host].await_ready()
        except StackError:
            for host in wanted:
                self._sidecars.pop(host).close()
            raise

    def beside(self, host: str) -> S:
        """Give the one beside a host.

        Raises:
            StackError: It does not start.

        """
        self.start([host])
        return self._sidecars[host]

    def close(self) -> None:
        """End all of them. Doing it twice is no error."""
        for sidecar in self._sidecars.values():
            sidecar.close()
        self._sidecars.clear()

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
