"""The sandbox as a contestant: its stacks in this process, its command line as a program."""

from __future__ import annotations

import json
import shutil
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from benchmarks.contest import UnableError
from benchmarks.setting import BenchmarkSetting
from benchmarks.talking import Talker, call
from metta_sandbox.play.nodes import Nodes
from metta_sandbox.play.readiness import await_ready
from metta_sandbox.scenario.names import MASTER, WORKER
from metta_sandbox.stack.engines.base import RUN_FOLDER, Stack, StackPlan
from metta_sandbox.stack.engines.compose.engine import ComposeEngine
from metta_sandbox.stack.engines.compose.leftovers import remove_containers
from metta_sandbox.stack.engines.compose.request import container_name
from metta_sandbox.stack.lease import Owner, lease
from metta_sandbox.stack.link import HubLink
from metta_sandbox.timeline.recording import Timeline

#: Seconds until every node of a large stack is ready.
_READY = 300.0


def hosts_of(nodes: int) -> tuple[str, ...]:
    """Name the nodes, by rank."""
    return (MASTER, WORKER, *(f"{WORKER}-{rank}" for rank in range(2, nodes)))[:nodes]


class OurStack:
    """A stack of ours, under a lease of its own.

    Args:
        setting: The benchmark's.
        name: Tells it from others of the same run.
        nodes: How many.

    """

    def __init__(self, setting: BenchmarkSetting, name: str, nodes: int) -> None:
        self._setting = setting
        self._hosts = hosts_of(nodes)
        self._owner = Owner(f"{setting.name}-{name}", engine="compose")
        self._held = ExitStack()
        self._stack: Stack | None = None
        self._link: HubLink | None = None
        self._folder = setting.folder / self._owner.run
        self._engine = ComposeEngine({})

    def up(self) -> float:
        """Start it, until every node is ready; returns the seconds it took, as all of these do."""
        began = time.perf_counter()
        shutil.rmtree(self._folder, ignore_errors=True)
        plan = StackPlan(self._owner.run, "stack", self._hosts, self._folder)
        plan.run_folder.mkdir(parents=True)
        self._held.enter_context(lease(self._owner))
        self._stack = self._engine.lease(plan, self._owner, _ignore)
        self._stack.up(_ignore)
        self._link = self._stack.connect()
        timeline = Timeline(self._folder / "timeline.jsonl")
        self._held.callback(timeline.finish)
        nodes = Nodes(self._link, self._hosts, timeline, self._stack.fallen)
        await_ready(nodes, _READY)
        seconds = time.perf_counter() - began
        _require(self._stack.describe()["image"]["tag"] == self._setting.image)
        return seconds

    def logs(self) -> float:
        """Collect all logs, for which all containers end."""
        assert self._stack is not None
        began = time.perf_counter()
        self._close()
        self._stack.collect()
        return time.perf_counter() - began

    def down(self) -> float:
        """Remove the stack. Doing so twice is no error."""
        began = time.perf_counter()
        self._close()
        if self._stack is not None:
            self._stack.down()
            self._stack = None
        self._held.close()
        return time.perf_counter() - began

    def remove(self) -> None:
        """Remove the stack, and whatever an interrupted start may have left."""
        try:
            self.down()
        finally:
            remove_containers(self._owner.run)

    def _close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def place(self, scripts: Path) -> None:
        """Put programs where all nodes see them."""
        for script in scripts.iterdir():
            shutil.copy(script, self._folder / "shared")

    def talkers(self, script: str, *arguments: str) -> list[Talker]:
        """Start a program on every node, to be asked over a pipe."""
        assert self._stack is not None
        project = self._stack.describe()["project"]
        command = ("python", f"{RUN_FOLDER}/{script}", *arguments)
        return [
            Talker(["docker", "exec", "--interactive", container_name(project, host), *command])
            for host in self._hosts
        ]


def _require(same_image: bool) -> None:
    """Refuse to measure the build of an image."""
    if not same_image:
        raise UnableError("our sources were changed meanwhile, and so the image was built anew")


def _ignore(_said: object) -> None:
    """Nobody watches: what is told is not what is measured."""


def sandbox(*words: str | Path) -> list[str | Path]:
    """Build a command line of the sandbox's."""
    return [sys.executable, "-m", "metta_sandbox", *words]


def play(
    setting: BenchmarkSetting, scenario: Path, **settings: Any
) -> tuple[float, list[dict[str, Any]]]:
    """Play a scenario with the command line; returns wall time, and its trials' results.

    Raises:
        UnableError: It did not pass.

    """
    artifacts = setting.folder / "artifacts"
    sets = [f"--set={name}={value}" for name, value in settings.items()]
    run = sandbox("run", scenario, "--engine=compose", f"--artifacts={artifacts}", "--quiet")
    try:
        seconds = call([*run, *sets], cwd=setting.folder)
        results = json.loads((artifacts / "latest" / "results.json").read_text())
        used = (artifacts / "latest" / "environment.json").read_text()
    except OSError as error:
        raise UnableError(str(error)) from None
    finally:
        with suppress(OSError):
            shutil.rmtree(artifacts)
    _require(setting.image in used)
    return seconds, results["scenarios"][0]["trials"]
