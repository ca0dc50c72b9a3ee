"""What tests of leftovers share: a ground of their own, and a search for what is left on it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from python_on_whales import DockerClient

from metta_sandbox.image.node_image import ImageSpec, ensure_image
from metta_sandbox.stack.credentials import memory_root
from metta_sandbox.stack.lease import LABEL

if TYPE_CHECKING:
    from tests.integration.play.conftest import Command, Process, Start


def _running() -> ModuleType:
    """Load the helpers of tests that play whole runs."""
    name = "metta_tests_running"
    if name not in sys.modules:
        path = Path(__file__).parents[1] / "play" / "conftest.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


#: What marks the processes of a run: its nodes, and what its own process has started.
_MARKS = ("METTA_STACK", "METTA_SANDBOX_RUN")
#: Generous, since two cores are shared by whatever is started at once.
PATIENT = {"deadline": "20m", "longest_silence": "5m"}
SECRET = "planted-secret"


@dataclass
class Ground:
    """Commands with a home, leases and temporary files of their own.

    Args:
        folder: Where their artifacts, leases and output go.
        temp: Their folder for temporary files; short, as paths of Unix sockets must be.
        start: Starts ``metta-sandbox``.
        docker: The engine, if the test uses one.

    """

    folder: Path
    temp: Path
    start: Start
    docker: DockerClient | None
    env: dict[str, str] = field(default_factory=dict)

    @property
    def engine(self) -> str:
        return "compose" if self.docker else "process"

    @property
    def leases(self) -> Path:
        return self.folder / "state" / "metta-sandbox" / "leases"

    def scenario(self, name: str = "tiny", **keys: Any) -> Path:
        folder = self.folder / "scenarios"
        folder.mkdir(exist_ok=True)
        return Path(
            _running().write_tiny(folder / f"{name}.yaml", **{**PATIENT, "name": name, **keys})
        )

    def run(
        self, scenario: Path, *words: str | Path, artifacts: Path | None = None, **env: str
    ) -> Command:
        """Start a run."""
        words = ("run", scenario, "--engine", self.engine, *words)
        return self.start(*words, artifacts=artifacts, **{**self.env, **env})

    def say(self, *words: str, status: int = 0, **env: str) -> str:
        """Give another command, and return what it says."""
        state = {"XDG_STATE_HOME": str(self.folder / "state")}
        done = subprocess.run(
            [sys.executable, "-m", "metta_sandbox", *words],
            env={**os.environ, **self.env, **state, **env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def eventually(self, holds: Callable[[], Any], what: str, patience: float = 90.0) -> Any:
        return _running().eventually(holds, what, patience)

    def processes(self, command: Command, *words: str) -> list[Process]:
        """List a run's live processes with these words in their command."""
        return [
            each
            for each in _running().processes()
            if each.environ.get("METTA_STACK", "").startswith(f"{command.run}/")
            and set(words) <= set(each.command)
        ]

    def runs(self, command: Command) -> list[str]:
        """Return the run a command has begun, if it came so far."""
        return [each.name for each in command._runs()]

    @contextmanager
    def neighbour(self, name: str = "neighbour") -> Iterator[Command]:
        """Play a run that is live, with nodes at work, all through the block; then it must pass.

        Its setup goes on until the block is done, and its sweep follows.
        """
        gate = "until [ -e go ]; do sleep 0.2; done"
        scenario = self.scenario(name, workload={"setup": gate, **workload()})
        live = self.run(scenario, "--credentials")
        live.says("running setup on every node")
        first = self.left(live.run)
        time.sleep(0.5)
        # A process that is just being started looks like the one that starts it.
        stays = {each for each in self.left(live.run) if each in first}
        yield live
        assert live.process.poll() is None, live.text
        assert set(without_clients(sorted(stays))) <= set(self.left(live.run))
        (live.folder / name / "shared" / "go").touch()
        assert live.wait(300) == 0, live.text
        assert live.results().verdict == "passed"
        assert self.left(live.run) == []

    def figures(self, text: str) -> None:
        """Tell what was measured, in the test's output."""
        sys.stdout.write(f"\n{text}\n")

    def left(self, *runs: str) -> list[str]:
        """List all that is left of runs on this machine, but for their artifacts."""
        return [*self.left_here(*runs), *self.left_on_engine(*runs)]

    def left_here(self, *runs: str) -> list[str]:
        """List processes, folders, leases and copies of credentials."""
        found = []
        for each in _running().processes():
            marks = [each.environ.get(mark, "").partition("/")[0] for mark in _MARKS]
            if set(marks) & set(runs):
                found.append(f"process {each.pid}: {' '.join(each.command)[:150]}")
        for run in runs:
            places = [*self.temp.glob(f"metta-*/{run}"), *self.leases.glob(f"{run}*")]
            found += [str(each) for each in (*places, memory_root(run)) if each.exists()]
        return found

    def alive(self, *runs: str) -> list[str]:
        """List processes, and containers that run."""
        found = [each for each in self.left_here(*runs) if each.startswith("process")]
        for run in runs if self.docker else ():
            filters = {"label": f"{LABEL}.run={run}", "status": "running"}
            found += ids(self.docker, "container", filters)
        return found

    def left_on_engine(self, *runs: str) -> list[str]:
        """List containers, networks and volumes."""
        found = []
        for run in runs if self.docker else ():
            label = {"label": f"{LABEL}.run={run}"}
            found += [f"container {one}" for one in ids(self.docker, "container", label)]
            found += [f"network {one}" for one in ids(self.docker, "network", label)]
            found += [f"volume {one}" for one in ids(self.docker, "volume", label)]
        return found


def ids(docker: DockerClient | None, what: str, filters: dict[str, str]) -> list[str]:
    """List by one cheap call, without asking about each."""
    assert docker is not None
    options = ["--all"] if what == "container" else []
    words = [word for key, value in filters.items() for word in ("--filter", f"{key}={value}")]
    command = [*docker.docker_cmd, what, "ls", "--quiet", *options, *words]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    return str(said.stdout).split()


MakeGround = Callable[..., AbstractContextManager[Ground]]


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    """A ground for local processes."""
    with making_ground(tmp_path, None) as made:
        yield made


@pytest.fixture
def docker_ground(tmp_path: Path, docker: DockerClient) -> Iterator[Ground]:
    """A ground for containers."""
    with making_ground(tmp_path, docker) as made:
        yield made


@contextmanager
def making_ground(
    folder: Path, docker: DockerClient | None, env: dict[str, str] | None = None
) -> Iterator[Ground]:
    temp = Path(tempfile.mkdtemp(prefix="mt-", dir="/tmp"))
    home = folder / "home"
    (home / ".aws").mkdir(parents=True)
    (home / ".aws" / "credentials").write_text(SECRET)
    (home / ".netrc").write_text(SECRET)
    real = Path.home()
    places = {
        "HOME": str(home),
        "TMPDIR": str(temp),
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(real / ".cache")),
        "DOCKER_CONFIG": os.environ.get("DOCKER_CONFIG", str(real / ".docker")),
        "COLUMNS": "200",
        **(env or {}),
    }
    starter = contextmanager(_running().starter)
    with starter(folder) as start:
        ground = Ground(folder, temp, start, docker, places)
        try:
            yield ground
        finally:
            _tidy(ground)
    shutil.rmtree(temp, ignore_errors=True)


def _tidy(ground: Ground) -> None:
    """Leave nothing of a failed test to those that follow."""
    for run in {each.name for each in ground.folder.glob("artifacts-*/2*")}:
        for each in _running().processes():
            if each.environ.get("METTA_STACK", "").startswith(f"{run}/"):
                each.signal(9)
        label = {"label": f"{LABEL}.run={run}"}
        if ground.docker:
            if found := ids(ground.docker, "container", label):
                ground.docker.container.remove(found, force=True, volumes=True)
            if found := ids(ground.docker, "network", label):
                ground.docker.network.remove([*found])


def without_clients(found: Sequence[str]) -> list[str]:
    """Leave out what comes and goes: a look at the engine."""
    return sorted(each for each in found if not each.startswith("process") or "agent" in each)


def workload() -> dict[str, Any]:
    """One trial of one step."""
    sizes = {"batch_size": 64, "minibatch_size": 32, "bptt_horizon": 4, "update_epochs": 1}
    return {"trainer": {"overrides": {"trainer": {"total_timesteps": 64, **sizes}}}}


@pytest.fixture(scope="session")
def make_ground() -> MakeGround:
    """Give what makes grounds on other engines."""
    return making_ground


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    """Give what waits until something is so."""
    wait: Callable[..., Any] = _running().eventually
    return wait


@pytest.fixture(scope="session")
def node_images(docker: DockerClient) -> list[str]:
    """Name the nodes' image and its base, made if they are not there."""
    image = ensure_image(ImageSpec(), print, docker)
    return [image.tag, image.base]


@pytest.fixture(scope="session")
def node_image(node_images: list[str]) -> str:
    """Name the nodes' image."""
    return node_images[0]
