"""An engine that is restarted or lost in mid-run, or out of networks: one of the test's own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from python_on_whales import DockerClient, Network
from python_on_whales.exceptions import DockerException

if TYPE_CHECKING:
    from tests.integration.leftovers.conftest import Ground, MakeGround
    from tests.integration.play.conftest import Command

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


class OwnEngine:
    """A Docker engine whose state lies in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.host = f"unix://{folder}/docker.sock"
        self.docker = DockerClient(host=self.host)
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        folder = self._folder
        places = [
            f"--data-root={folder}/data",
            f"--exec-root={folder}/exec",
            f"--pidfile={folder}/pid",
        ]
        # In a network namespace of its own: two engines in one undo each other's packet filters.
        apart = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*apart, "dockerd", f"--host={self.host}", *places],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def answers(self) -> bool:
        with suppress(DockerException):
            self.docker.system.info()
            return True
        assert self._process.poll() is None, (self._folder / "log").read_text()[-3000:]
        return False

    def stop(self) -> None:
        """End it in order, containers first."""
        self._process.terminate()
        self._process.wait(90)

    def kill(self) -> None:
        """End it at once, with its containerd."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(60)
        (self._folder / "pid").unlink(missing_ok=True)

    def take_images(self, other: DockerClient, images: list[str]) -> None:
        """Copy images from another engine."""
        save = [*other.docker_cmd, "save", *images]
        load = [*self.docker.docker_cmd, "load", "--quiet"]
        with subprocess.Popen(save, stdout=subprocess.PIPE) as saving:
            subprocess.run(load, stdin=saving.stdout, check=True)
        assert saving.returncode == 0


@pytest.fixture(scope="module")
def own_engine(
    docker: DockerClient, node_images: list[str], eventually: Callable[..., None]
) -> Iterator[OwnEngine]:
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        pytest.skip("only root starts an engine, and dockerd must be installed here")
    folder = Path(tempfile.mkdtemp(prefix="mt-", dir="/tmp"))
    engine = OwnEngine(folder)
    try:
        eventually(engine.answers, "an engine of our own")
        engine.take_images(docker, node_images)
        yield engine
    finally:
        engine.stop()
        for mount in reversed(Path("/proc/mounts").read_text().splitlines()):
            if f" {folder}/" in mount:
                subprocess.run(["umount", "--lazy", mount.split()[1]], check=False)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def own_ground(tmp_path: Path, own_engine: OwnEngine, make_ground: MakeGround) -> Iterator[Ground]:
    with make_ground(tmp_path, own_engine.docker, {"DOCKER_HOST": own_engine.host}) as ground:
        yield ground


def test_a_restart_in_mid_run_is_an_error_and_the_next_run_passes(
    own_ground: Ground, own_engine: OwnEngine
) -> None:
    command = _training(own_ground)
    own_engine.stop()
    own_engine.start()

    _ended_in_error(command)
    # The engine came back in time to be asked for the containers' logs.
    for host in ("sweep-master", "sweep-worker"):
        assert "train.step" in (command.folder / "tiny" / "logs" / f"{host}.log").read_text()
    assert own_ground.left(command.run) == []
    _next_one_passes(own_ground)


def test_an_engine_that_is_lost_leaves_the_run_to_whoever_finds_it_back(
    own_ground: Ground, own_engine: OwnEngine
) -> None:
    command = _training(own_ground)
    own_engine.kill()

    _ended_in_error(command)
    (log,) = (command.folder / "tiny" / "logs").glob("sweep-master.log")
    assert log.read_text().startswith("[no log: ")
    assert "train.step" in (command.folder / "tiny" / "timeline.jsonl").read_text()
    assert (own_ground.leases / f"{command.run}.json").exists()

    own_engine.start()
    own_ground.eventually(own_engine.answers, "the engine again")
    following = _next_one_passes(own_ground)
    assert f"removed what the run {command.run} left behind" in following.text
    assert own_ground.left(command.run) == []


def test_a_run_passes_where_the_engines_own_pools_are_exhausted(
    own_ground: Ground, own_engine: OwnEngine
) -> None:
    create = own_engine.docker.network.create
    made: list[Network | str] = [create("full-0")]
    try:
        while not (said := _refusal(lambda: made.append(create(f"full-{len(made)}")))):
            assert len(made) < 40
        assert "available, non-overlapping IPv4 address pool" in said
        _next_one_passes(own_ground)
    finally:
        own_engine.docker.network.remove(made)


def _refusal(act: Callable[[], None]) -> str:
    """Do something, and return what the engine says against it."""
    try:
        act()
    except DockerException as error:
        return str(error)
    return ""


def _training(ground: Ground) -> Command:
    command = ground.run(ground.scenario(steps=None), "--credentials")
    command.says("ready: ", patience=300)
    command.event("train.step")
    return command


def _ended_in_error(command: Command) -> None:
    assert command.wait(180) == 1, command.text
    result = command.results()
    assert (result.verdict, result.scenarios[0].verdict) == ("error", "error")
    assert "the connection to the stack is gone" in result.scenarios[0].reason
    assert "sandbox itself" not in result.scenarios[0].reason
    assert result.seconds < 180


def _next_one_passes(ground: Ground) -> Command:
    command = ground.run(ground.scenario())
    assert command.wait(300) == 0, command.text
    assert ground.left(command.run) == []
    return command
