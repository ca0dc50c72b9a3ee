"""A stack small enough to take apart: hub, agents and a harness's link, as real processes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import metta_sandbox
from metta_sandbox.node.agent.messages import ArmSaid
from metta_sandbox.node.agent.processes import carrying
from metta_sandbox.stack.agent_app import install
from metta_sandbox.stack.link import HubLink

#: One of ``messages.Heard``; a test knows which.
Message = Any
WaitUntil = Callable[[Callable[[], Any], str], Any]

#: Seconds within which anything that shall happen has happened, also on a busy machine.
PATIENCE = 20.0
_LOOK = 0.01
_SOURCES = str(Path(metta_sandbox.__file__).parents[1])


def until(happened: Callable[[], Any], what: str) -> Any:
    """Wait until something holds, and return what it returned."""
    deadline = time.monotonic() + PATIENCE
    while not (found := happened()):
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE:g} s"
        time.sleep(_LOOK)
    return found


def _fits(message: Message, kind: str, fields: dict[str, Any]) -> bool:
    said = {**message, **message.get("record", {})}
    return message["type"] == kind and all(said.get(key) == fields[key] for key in fields)


class Harness:
    """A link, and all that came over it."""

    def __init__(self, link: HubLink) -> None:
        self.link = link
        self.messages: list[Message] = []

    def take(self) -> Message | None:
        """Take in what has come, if anything has within a moment."""
        message = self.link.receive(_LOOK)
        if message is not None:
            self.messages.append(message)
        return message

    def find(self, kind: str, **fields: Any) -> list[int]:
        """Return where messages of a kind stand, of those that came so far.

        Fields are the message's own, or those of the event it carries.
        """
        every = enumerate(self.messages)
        return [place for place, message in every if _fits(message, kind, fields)]

    def wait(self, kind: str, **fields: Any) -> Message:
        """Wait for a message of a kind, and return the first."""
        for place in self.find(kind, **fields):
            return self.messages[place]

        deadline = time.monotonic() + PATIENCE
        while (message := self.take()) is None or not _fits(message, kind, fields):
            assert time.monotonic() < deadline, f"no {kind} {fields} within {PATIENCE:g} s"
        return message

    def lines(self, source: str) -> list[str]:
        """Return the lines of a source that came so far."""
        return [
            line
            for message in self.messages
            if message["type"] == "lines" and message["source"] == source
            for line in message["lines"]
        ]

    def start(self, node: str, group: str, command: Sequence[str], **env: str) -> int:
        """Start a group, and return its process id."""
        told = self.link.request(node, "start", group=group, command=list(command), env=env)
        return told["pid"]

    def arm(self, node: str, **arms: dict[str, Any]) -> None:
        """Replace what is armed on a node."""
        wanted: list[ArmSaid] = [{"id": name, "match": match} for name, match in arms.items()]
        self.link.request(node, "arm", arms=wanted)


class SmallStack:
    """Hub and agents as real processes, out of the zipapp that travels."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.app = install(folder)
        # Without what is installed, the app must work; and it starts sooner.
        self.python: list[str] = [sys.executable, "-I", "-S"]
        self.hub_address = f"unix:{folder / 'hub'}"
        self._mark = f"METTA_TEST={folder}"
        #: What the hub knows everybody by.
        self.keys = {name: f"secret-{name}" for name in ("harness", "alone", "a", "b", "n")}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._harnesses: list[Harness] = []

    def environment(self, **more: str) -> dict[str, str]:
        name, _, value = self._mark.partition("=")
        return {**os.environ, name: value, "PYTHONPATH": _SOURCES, **more}

    def program(self, *words: str) -> list[str]:
        """Return the command line of one of the app's programs."""
        return [*self.python, str(self.app), *words]

    def run(self, command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a process that ends with the test."""
        options.setdefault("env", self.environment())
        process = subprocess.Popen(list(command), start_new_session=True, **options)
        self._processes.append(process)
        return process

    def tell(self, process: subprocess.Popen[bytes], text: str) -> subprocess.Popen[bytes]:
        """Tell a process what only it is to know."""
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
            stdin.write(f"{text}\n".encode())
        return process

    def hub(self, *options: str) -> subprocess.Popen[bytes]:
        nodes = [f"--node={name}" for name in self.keys if name != "harness"]
        words = self.program("hub", f"--listen={self.hub_address}", *nodes, *options)
        with (self.folder / "hub.log").open("ab") as log:
            hub = self.run(words, stdin=subprocess.PIPE, stderr=log)
        return self.tell(hub, json.dumps(self.keys))

    def socket(self, node: str) -> str:
        return str(self.folder / f"{node}.sock")

    def agent(
        self, node: str, *options: str, prefix: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        words = self.program(
            "agent",
            f"--node={node}",
            f"--hub={self.hub_address}",
            f"--local={self.socket(node)}",
            "--address=127.0.0.1",
            *options,
        )
        with (self.folder / f"{node}.log").open("ab") as log:
            process = self.run(
                [*prefix, *words], stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT
            )
        return self.tell(process, self.keys[node])

    def log(self, node: str) -> str:
        return (self.folder / f"{node}.log").read_text(errors="replace")

    def harness(self) -> Harness:
        """Connect; the relay is a process like the others."""
        relay = self.program("relay", f"--hub={self.hub_address}")
        harness = Harness(HubLink(["env", self._mark, *relay], self.keys["harness"]))
        self._harnesses.append(harness)
        return harness

    def up(self, *nodes: str) -> Harness:
        """Start hub, agents and harness, and wait until all are there."""
        self.hub()
        for node in nodes:
            self.agent(node)
        harness = self.harness()
        for node in nodes:
            harness.wait("registered", node=node)
        return harness

    def script(self, text: str) -> list[str]:
        """Return a command that runs a Python program with our package at hand."""
        return [sys.executable, "-S", "-c", text]

    def rank(self, text: str) -> list[str]:
        """Return a command that runs a Python program as a trainer, under the rank wrapper."""
        words = self.program("rank", f"--log-folder={self.folder}", "--")
        return [*words, *self.script(text)]

    def alive(self) -> list[int]:
        """Return the processes that this stack started, at any remove."""
        return carrying(self._mark)

    def close(self) -> None:
        for harness in self._harnesses:
            harness.link.close()
        for pid in self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def stack() -> Iterator[SmallStack]:
    """Give an empty stack; whatever runs at the end of the test is killed."""
    # Paths of Unix sockets must be short.
    folder = Path(tempfile.mkdtemp(prefix="agent-"))
    small = SmallStack(folder)
    try:
        yield small
    finally:
        small.close()
        shutil.rmtree(folder)


@pytest.fixture
def wait_until() -> WaitUntil:
    return until


def _interpreters() -> dict[str, str]:
    """Find the interpreters of this machine that the app must run under, by version."""
    candidates = [f"python3.{minor}" for minor in range(9, 15)]
    found = [path for name in candidates if (path := shutil.which(name))]
    found += map(str, Path.home().glob(".pyenv/versions/3.*/bin/python3"))
    found.append(sys.executable)
    versions: dict[str, str] = {}
    say = "import json, sys; print(json.dumps(sys.version_info[:2]))"
    for path in found:
        said = subprocess.run([path, "-c", say], capture_output=True, text=True, check=False)
        if said.returncode == 0 and (version := tuple(json.loads(said.stdout))) >= (3, 9):
            versions.setdefault(".".join(map(str, version)), path)
    return versions


INTERPRETERS = _interpreters()


@pytest.fixture(params=sorted(INTERPRETERS))
def any_python(request: pytest.FixtureRequest) -> str:
    """Give every interpreter of this machine from 3.9 on, one after the other."""
    return INTERPRETERS[request.param]
