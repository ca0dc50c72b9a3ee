"""What tests of whole runs share: commands as processes, tiny scenarios, and who is left."""

from __future__ import annotations

import json
import os
import re
import signal
import site
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jsonschema
import pytest
from python_on_whales import DockerClient
from ruamel.yaml import YAML

from metta_sandbox.report import results
from metta_sandbox.report.results import RunResult
from metta_sandbox.stack.marks import variables as variables_of

#: Carried by every process that a command starts, for as long as it lives.
_MARK = "METTA_TEST_COMMAND"
#: Seconds for what takes one or two on an idle machine.
PATIENCE = 90.0


def eventually(holds: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Look until something is so, and return it; fail when patience is over."""
    deadline = time.monotonic() + patience
    pause = threading.Event()
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not within {patience:g} s: {what}"
        pause.wait(0.02)
    return found


@dataclass(frozen=True)
class Process:
    """A live process, and what it was started with."""

    pid: int
    command: tuple[str, ...]
    environ: Mapping[str, str]

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)


def processes(*marks: str) -> list[Process]:
    """List the live processes that have all of these ``NAME=value`` in their environment."""
    wanted = {mark.encode() for mark in marks}
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            variables = variables_of(entry)
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if wanted <= set(variables):
            pairs = (each.decode(errors="replace").partition("=") for each in variables)
            environ = {name: value for name, _, value in pairs}
            found.append(Process(int(entry.name), tuple(words[:-1]), environ))
    return found


@dataclass
class Command:
    """``metta-sandbox …`` as a process of its own, in a process group of its own."""

    words: Sequence[str]
    env: Mapping[str, str]
    artifacts: Path
    log: Path
    mark: str
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                self.words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**self.env, _MARK: self.mark},
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    @property
    def folder(self) -> Path:
        """The folder of the run it has begun."""
        found = eventually(self._runs, f"a folder in {self.artifacts}\n{self.text}")
        return Path(found[0])

    def _runs(self) -> list[Path]:
        return [each for each in self.artifacts.glob("2*") if not each.is_symlink()]

    @property
    def run(self) -> str:
        return self.folder.name

    def wait(self, patience: float = PATIENCE) -> int:
        """Return its exit status; fail if it does not end."""
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still runs after {patience:g} s:\n{self.text}")

    def says(self, pattern: str, patience: float = PATIENCE) -> re.Match[str]:
        """Wait until it has printed something."""

        def look() -> re.Match[str] | None:
            found = re.search(pattern, self.text)
            assert found or self.process.poll() is None, f"ended before {pattern!r}:\n{self.text}"
            return found

        match: re.Match[str] = eventually(look, f"{pattern!r} in\n{self.text}", patience)
        return match

    def eventually(self, holds: Callable[[], Any], what: str) -> Any:
        """Look until something is so, and return it."""
        return eventually(holds, f"{what} of\n{self.text}")

    def entries(self, scenario: str = "tiny") -> list[dict[str, Any]]:
        """Read the timeline as far as it goes."""
        path = self.folder / scenario / "timeline.jsonl"
        if not path.exists():
            return []
        lines = path.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def event(self, name: str, **fields: Any) -> dict[str, Any]:
        """Wait until something has told an event."""

        def look() -> dict[str, Any] | None:
            for entry in self.entries():
                if entry.get("event") == name and fields.items() <= entry.items():
                    return entry
            assert self.process.poll() is None, f"ended before {name}:\n{self.text}"
            return None

        found: dict[str, Any] = eventually(look, f"{name} {fields} in\n{self.text}")
        return found

    def mine(self, word: str) -> list[Process]:
        """List the live processes of its own with this word in their command."""
        own = processes(f"{_MARK}={self.mark}")
        return [each for each in own if any(word in part for part in each.command)]

    def nodes(self, host: str, *words: str) -> list[Process]:
        """List the live processes of a node (process engine) with these words in their command."""
        return [
            each
            for each in processes(f"METTA_NODE={host}")
            if each.environ.get("METTA_STACK", "").startswith(f"{self.run}/")
            and all(any(word in part for part in each.command) for word in words)
        ]

    def eventual_nodes(self, host: str, *words: str) -> list[Process]:
        """Wait until a node has such a process."""
        found: list[Process] = eventually(lambda: self.nodes(host, *words), f"{words} on {host}")
        return found

    def results(self) -> RunResult:
        """Read ``results.json``, once it was held against the schema."""
        path = self.folder / results.FILE_NAME
        jsonschema.validate(
            json.loads(path.read_text()), json.loads(results.SCHEMA_FILE.read_text())
        )
        assert json.loads((self.folder / "environment.json").read_text())["command"]
        return results.read(path)

    def left(self, docker: DockerClient | None = None) -> list[str]:
        """List what is left of it on this machine: processes, folders, a lease, containers."""
        found = [f"{each.pid} {each.command}" for each in processes(f"{_MARK}={self.mark}")]
        for run in self._runs():
            found += [
                f"{each.pid} {each.command}"
                for each in processes()
                if each.environ.get("METTA_STACK", "").startswith(f"{run.name}/")
            ]
            found += [str(each) for each in Path("/tmp").glob(f"metta-*/{run.name}")]
            state = Path(self.env["XDG_STATE_HOME"])
            found += [str(each) for each in state.rglob(f"{run.name}.json")]
            if docker:
                label = f"dev.metta-sandbox.run={run.name}"
                ours: list[tuple[Literal["label"], str]] = [("label", label)]
                found += [each.name for each in docker.container.list(all=True, filters=ours)]
                found += [each.name for each in docker.network.list(filters=ours)]
        return found

    def interrupt(self, number: int = signal.SIGINT) -> None:
        """Send a signal to the command alone."""
        self.process.send_signal(number)

    def interrupt_group(self) -> None:
        """Send Ctrl-C as a terminal does: to the whole process group."""
        os.killpg(self.process.pid, signal.SIGINT)


Start = Callable[..., Command]


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Start]:
    """Start ``metta-sandbox run …`` with these words; whatever still runs at the end is killed."""
    yield from starter(tmp_path)


def starter(folder: Path) -> Iterator[Start]:
    """Start commands whose artifacts, leases and output go into a folder."""
    started: list[Command] = []

    def start(
        *words: str | Path,
        python: str | Path = sys.executable,
        program: Sequence[str] = (),
        artifacts: Path | None = None,
        **env: str,
    ) -> Command:
        number = len(started)
        artifacts = artifacts or folder / f"artifacts-{number}"
        program = program or (str(python), "-m", "metta_sandbox")
        kept = {name: value for name, value in os.environ.items() if name != "CI"}
        command = Command(
            words=[*program, *map(str, words), "--artifacts", str(artifacts)],
            env={**kept, "XDG_STATE_HOME": str(folder / "state"), **env},
            artifacts=artifacts,
            log=folder / f"output-{number}.txt",
            mark=f"{folder}-{number}",
        )
        started.append(command)
        return command

    try:
        yield start
    finally:
        for command in started:
            command.interrupt()
        for command in started:
            try:
                command.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(command.process.pid, signal.SIGKILL)
                command.process.wait()
            for each in processes(f"{_MARK}={command.mark}"):
                each.signal(signal.SIGKILL)


Write = Callable[..., Path]


@pytest.fixture(scope="session")
def starting() -> Callable[[Path], Iterator[Start]]:
    """Give what starts commands for longer than a test."""
    return starter


@pytest.fixture(scope="session", name="write_tiny")
def write_tiny_to() -> Write:
    """Give what writes tiny scenarios for longer than a test."""
    return write_tiny


@pytest.fixture
def tiny(tmp_path: Path) -> Write:
    """Write a scenario of one trial and one step; ``steps`` and keys of the file change that.

    Without steps (None) a trial goes on until it is ended.
    """
    return lambda **keys: write_tiny(tmp_path / "tiny.yaml", **keys)


def write_tiny(
    path: Path,
    *,
    trials: int = 1,
    steps: int | None = 1,
    failures: int = 3,
    launcher: str = "warm",
    **keys: Any,
) -> Path:
    scenario = {
        "version": 1,
        "name": "tiny",
        "sweep": {
            "trials": trials,
            "max_failures_in_a_row": failures,
            "parameters": {
                "trainer.optimizer.learning_rate": {
                    "distribution": "log_normal",
                    "min": 1e-4,
                    "max": 1e-2,
                    "mean": 3e-3,
                }
            },
        },
        "workload": {
            "trainer": {
                "launcher": launcher,
                "overrides": {
                    "trainer": {
                        "total_timesteps": 64 * (steps or 10**6),
                        "batch_size": 64,
                        "minibatch_size": 32,
                        "bptt_horizon": 4,
                        "update_epochs": 1,
                    }
                },
            }
        },
        **keys,
    }
    YAML(typ="safe", pure=True).dump(scenario, path)
    return path


@pytest.fixture
def hooked(tmp_path: Path) -> Callable[[str], Path]:
    """Make an interpreter that runs some code at the start of each process on a node."""

    def make(code: str) -> Path:
        folder = tmp_path / "hooked"
        python: str = sys._base_executable  # type: ignore[attr-defined]
        subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
        packages = Path(*folder.glob("lib/python3*/site-packages"))
        (packages / "hook.py").write_text(code)
        ours = site.getsitepackages()[0]
        (packages / "zz-hook.pth").write_text(
            f"import site; site.addsitedir({ours!r})\nimport hook\n"
        )
        return folder / "bin" / "python"

    return make
