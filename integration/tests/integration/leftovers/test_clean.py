"""``clean``, and what it never touches."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from python_on_whales import DockerClient

from metta_sandbox.stack.lease import LABEL, Owner

if TYPE_CHECKING:
    from tests.integration.leftovers.conftest import Ground

NO_ENGINE = "unix:///nonexistent/docker.sock"
NOTHING = "nothing was left behind\n"
DEAD = "20200101T000000-dead"


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """Somebody else's live process."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def test_without_an_engine_it_says_what_it_removed_or_that_there_was_nothing(
    ground: Ground,
) -> None:
    assert ground.say("clean").startswith(NOTHING)

    with ground.neighbour():
        dead = ground.run(ground.scenario(steps=None), "--credentials")
        dead.event("train.step")
        dead.process.kill()
        dead.process.wait()

        assert ground.say("clean").startswith(f"removed what the run {dead.run} left behind\n")
        assert ground.left(dead.run) == []
        assert ground.say("clean").startswith(NOTHING)
    assert (dead.folder / "tiny" / "timeline.jsonl").stat().st_size > 0


def test_what_another_boot_left_goes_by_its_marks_and_never_by_its_process_id(
    ground: Ground, stranger: subprocess.Popen[bytes]
) -> None:
    _leave_lease(ground, boot="another-boot", pid=stranger.pid)
    marked = subprocess.Popen(["sleep", "600"], env={"METTA_STACK": f"{DEAD}/tiny"})
    homes = ground.temp / f"metta-{os.getuid()}" / DEAD / "1234abcd" / "sweep-master"
    homes.mkdir(parents=True)

    assert ground.say("clean").startswith(f"removed what the run {DEAD} left behind\n")

    assert marked.wait(10) == -signal.SIGKILL
    assert stranger.poll() is None
    assert ground.left(DEAD) == []


def test_a_process_id_and_start_of_this_very_boot_are_no_reason_either(
    ground: Ground, stranger: subprocess.Popen[bytes]
) -> None:
    started = int(Path(f"/proc/{stranger.pid}/stat").read_text().rpartition(")")[2].split()[19])
    _leave_lease(ground, boot=Owner("").boot, pid=stranger.pid, started=started)

    assert ground.say("clean").startswith(f"removed what the run {DEAD} left behind\n")

    assert stranger.poll() is None


def test_containers_whose_engine_does_not_answer_keep_their_lease(ground: Ground) -> None:
    lease = _leave_lease(ground, engine="compose")

    said = ground.say("clean", status=1)

    assert f"what the run {DEAD} left on compose can't be removed" in said
    assert "no Docker engine answers" in said
    assert lease.exists()
    # It is no hindrance, either.
    following = ground.run(ground.scenario())
    assert following.wait(300) == 0, following.text
    assert f"what the run {DEAD} left on compose can't be removed" in following.text


def test_containers_of_another_boot_go_by_their_labels(
    docker_ground: Ground, docker: DockerClient, node_image: str
) -> None:
    ground = docker_ground
    labels = Owner(DEAD, boot="another-boot", pid=1).labels()
    options = [word for item in labels.items() for word in ("--label", "=".join(item))]
    made = ["docker", "network", "create", "--internal", "--subnet=10.213.255.240/29", *options]
    subprocess.run([*made, f"metta-{DEAD}"], check=True)
    try:
        for name, further in {"running": ["--detach"], "created": []}.items():
            verb = "run" if further else "create"
            words = [*further, *options, f"--network=metta-{DEAD}", "--entrypoint=sleep"]
            command = ["docker", verb, f"--name=metta-{DEAD}-{name}", *words, node_image, "600"]
            subprocess.run(command, check=True)
        # Somebody has joined its network, by hand.
        guest = f"metta-test-guest-{os.getpid()}"
        words = [f"--network=metta-{DEAD}", "--entrypoint=sleep", node_image, "600"]
        subprocess.run(["docker", "run", "--detach", f"--name={guest}", *words], check=True)
        assert len(ground.left(DEAD)) == 3
        _leave_lease(ground, boot="another-boot", pid=1, engine="compose")

        assert ground.say("clean").startswith(f"removed what the run {DEAD} left behind\n")

        assert ground.left(DEAD) == []
        assert docker.container.inspect(guest).state.running
    finally:
        docker.container.remove(guest, force=True)
        found = docker.container.list(all=True, filters=[("label", f"{LABEL}.run={DEAD}")])
        docker.container.remove(found, force=True)


def _leave_lease(
    ground: Ground, *, boot: str = "", pid: int = 1, started: int = 1, engine: str = "process"
) -> Path:
    """Write a lease as a dead run would have left it."""
    ground.leases.mkdir(parents=True, exist_ok=True)
    lease = ground.leases / f"{DEAD}.json"
    owner = Owner(DEAD, boot=boot, pid=pid, started=started, engine=engine)
    lease.write_text(json.dumps(owner.told()))
    return lease
