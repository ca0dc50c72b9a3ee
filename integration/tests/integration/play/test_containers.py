"""Bad luck that needs containers: killed nodes, Ctrl-C, kill -9, and a user who is not root."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from platformdirs import user_cache_path
from python_on_whales import DockerClient

if TYPE_CHECKING:
    from tests.integration.conftest import InDockerGroup
    from tests.integration.play.conftest import Command, Start, Write

ENGINE = ("--engine", "compose")
#: A user of no other rights than to talk to the engine.
SOMEBODY = 4711


def interrupted(command: Command, docker: DockerClient) -> None:
    assert command.wait() == 130, command.text
    assert "Traceback" not in command.text
    result = command.results()
    assert (result.verdict, result.reason) == ("error", "interrupted")
    assert command.left(docker) == []


def test_a_container_killed_in_mid_training_ends_the_sweep_within_seconds(
    cli: Start, tiny: Write, docker: DockerClient
) -> None:
    command = cli("run", tiny(steps=None), *ENGINE)
    command.event("train.step", rank=1)
    killed = time.monotonic()
    docker.kill(f"metta-{command.run.lower()}-tiny-sweep-worker")

    assert command.wait() == 1

    assert time.monotonic() - killed < 45, "less than the default silence"
    (scenario,) = command.results().scenarios
    assert scenario.verdict == "failed"
    assert scenario.reason == "sweep-worker is lost: sweep-worker was killed by signal 9"
    log = (command.folder / "tiny" / "logs" / "sweep-worker.log").read_text()
    assert "train.started" in log, "also the log of a container that was killed is kept"
    assert command.left(docker) == []


@pytest.mark.parametrize("delay", [0.0, 0.3, 0.7, 1.2])
def test_ctrl_c_while_containers_are_started(
    cli: Start, tiny: Write, docker: DockerClient, delay: float
) -> None:
    command = cli("run", tiny(steps=None), *ENGINE)
    command.says("starting 2 nodes as containers", patience=300)
    threading.Event().wait(delay)

    # By turns as a terminal does it, which reaches Compose too, and as a CI job is stopped.
    if delay in (0.3, 1.2):
        command.interrupt_group()
    else:
        command.interrupt()

    interrupted(command, docker)


def test_what_a_killed_run_left_on_the_engine_goes_with_the_next(
    cli: Start, tiny: Write, docker: DockerClient
) -> None:
    scenario = tiny(steps=None)
    victim = cli("run", scenario, *ENGINE)
    victim.event("train.step")
    victim.interrupt(signal.SIGKILL)
    victim.wait()
    assert len(victim.left(docker)) >= 5

    # Whatever the next one is played on.
    following = cli("run", scenario, "--engine", "process")
    following.says(f"removed what the run {victim.run} left behind")
    assert victim.left(docker) == []
    following.interrupt()

    interrupted(following, docker)


@pytest.fixture
def somebody() -> Iterator[Path]:
    """Give an ordinary user in the docker group a home of their own, with root's packages."""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else; whoever this is, is not root anyway")
    home = Path("/tmp") / f"metta-test-home-{os.getpid()}"
    packages = user_cache_path("metta-sandbox") / "wheelhouse"
    kept = home / ".cache" / "metta-sandbox" / "wheelhouse"
    kept.parent.mkdir(parents=True)
    if packages.exists():
        shutil.copytree(
            packages, kept, ignore=lambda _, names: [n for n in names if n.endswith(".lock")]
        )
    yield home
    shutil.rmtree(home)


def test_an_ordinary_user_in_the_docker_group(
    starting: Callable[[Path], Iterator[Start]],
    write_tiny: Write,
    somebody: Path,
    in_docker_group: InDockerGroup,
    docker: DockerClient,
) -> None:
    scenario = write_tiny(somebody / "tiny.yaml", steps=30)
    scenario.chmod(0o644)
    reached = in_docker_group(somebody)
    for path in (somebody, *somebody.rglob("*")):
        os.chown(path, SOMEBODY, SOMEBODY, follow_symlinks=False)
    # This machine's interpreter may be where only root can read; nothing else is asked for.
    read = ("--inh-caps", "-all,+dac_read_search", "--ambient-caps", "-all,+dac_read_search")
    who = ("--reuid", SOMEBODY, "--regid", SOMEBODY, "--groups", f"{SOMEBODY},{reached.group}")
    program = [
        str(word) for word in ("setpriv", *who, *read, sys.executable, "-m", "metta_sandbox")
    ]
    with contextmanager(starting)(somebody) as start:
        command = start(
            *("run", scenario, *ENGINE),
            program=program,
            HOME=str(somebody),
            XDG_CACHE_HOME=str(somebody / ".cache"),
            **reached.env,
        )
        command.says("ready: sweep-master", patience=300)
        worker = docker.container.inspect(f"metta-{command.run.lower()}-tiny-sweep-worker")
        seen = worker.execute(["python3", "-c", "import os; print(os.getuid(), os.getgid())"])

        assert seen == f"{SOMEBODY} {SOMEBODY}"
        assert command.wait() == 0, command.text
        assert command.results().verdict == "passed"
        owners = {path.lstat().st_uid for path in command.folder.rglob("*")}
        assert owners == {SOMEBODY}
        assert command.left(docker) == []
