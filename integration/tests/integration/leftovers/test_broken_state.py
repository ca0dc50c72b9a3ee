"""One command starts anew from whatever state a dead run has left."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Literal

import pytest
from python_on_whales import DockerClient
from python_on_whales.exceptions import DockerException

from metta_sandbox.stack.lease import LABEL

if TYPE_CHECKING:
    from tests.integration.leftovers.conftest import Ground
    from tests.integration.play.conftest import Command


def test_containers_half_removed_stopped_or_with_a_guest_in_their_network(
    docker_ground: Ground, docker: DockerClient, node_image: str
) -> None:
    ground = docker_ground
    dead = _killed_in_training(ground)
    label: list[tuple[Literal["label"], str]] = [("label", f"{LABEL}.run={dead.run}")]
    (network,) = docker.network.list(filters=label)
    guest = f"metta-test-guest-{os.getpid()}"
    words = [f"--name={guest}", f"--network={network.name}", "--entrypoint=sleep"]
    subprocess.run(["docker", "run", "--detach", *words, node_image, "600"], check=True)
    try:
        docker.container.remove(f"metta-{dead.run.lower()}-tiny-sweep-worker", force=True)
        docker.container.stop(f"metta-{dead.run.lower()}-tiny-dummy-api", time=1)
        docker.container.create(
            node_image, labels={f"{LABEL}.run": dead.run}, name=f"metta-test-made-{os.getpid()}"
        )
        assert len(ground.left_on_engine(dead.run)) >= 4

        following = _next_one_passes(ground)

        assert f"removed what the run {dead.run} left behind" in following.text
        assert ground.left(dead.run) == []
        assert docker.container.inspect(guest).state.running
    finally:
        docker.container.remove(guest, force=True)


def test_an_image_whose_name_was_removed_is_made_again(
    docker_ground: Ground, docker: DockerClient, node_image: str
) -> None:
    try:
        docker.image.remove(node_image)
    except DockerException:
        pytest.skip("somebody else's container is made from it at this moment")

    following = _next_one_passes(docker_ground)

    assert f"image: building {node_image}" in following.text
    assert docker.image.exists(node_image)


def test_a_link_that_dangles_and_locks_that_somebody_left(ground: Ground) -> None:
    artifacts = ground.folder / "artifacts"
    artifacts.mkdir()
    (artifacts / "latest").symlink_to("20200101T000000-dead")
    cache = ground.folder / "cache" / "metta-sandbox"
    for name in ("build.lock", "nodes/some.lock", "wheelhouse/some.lock"):
        (cache / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).touch()
    ground.leases.mkdir(parents=True)
    (ground.leases / ".lock").touch()
    (ground.leases / "20200101T000000-half.json").write_text('{"run": "2020')

    command = ground.run(ground.scenario(), artifacts=artifacts, XDG_CACHE_HOME=str(cache.parent))

    assert command.wait(300) == 0, command.text
    assert (artifacts / "latest").resolve() == command.folder
    assert "removed what the run 20200101T000000-half left behind" in command.text
    assert [each.name for each in ground.leases.glob("*.json")] == []


def test_folders_of_a_dead_run_that_nobody_may_write(ground: Ground) -> None:
    dead = _killed_in_training(ground)
    for folder in (ground.temp / f"metta-{os.getuid()}" / dead.run).rglob("*"):
        if folder.is_dir():
            folder.chmod(0o500)

    _next_one_passes(ground)

    assert ground.left(dead.run) == []


def _killed_in_training(ground: Ground) -> Command:
    command = ground.run(ground.scenario(steps=None), "--credentials")
    command.says("ready: ", patience=300)
    command.event("train.step")
    command.process.kill()
    command.process.wait()
    return command


def _next_one_passes(ground: Ground) -> Command:
    command = ground.run(ground.scenario())
    assert command.wait(300) == 0, command.text
    assert ground.left(command.run) == []
    return command
