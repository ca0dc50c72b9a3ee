"""Pulling a base image, and what happens where none can be pulled, with registries of our own."""

from __future__ import annotations

import socket
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pytest
from python_on_whales import DockerClient

from metta_sandbox.errors import InputError, MachineError
from metta_sandbox.image import base_image
from metta_sandbox.image.base_image import BaseImage, ensure_base, find_base
from metta_sandbox.image.debian_base import DebianBase, make_base
from metta_sandbox.image.node_platform import NodePlatform


class Registry(Protocol):
    address: str

    def stop(self) -> None: ...


@pytest.fixture
def pushed(docker: DockerClient, tmp_path: Path, registry: Registry) -> Iterator[str]:
    """A name in a registry, of an image that this engine can pull from there."""
    name = f"{registry.address}/library/python:3.11-test"
    archive = tmp_path / "small.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(__file__, "file")
    docker.image.import_(archive, name)
    docker.image.push(name, quiet=True)
    docker.image.remove(name)
    yield name
    if docker.image.exists(name):
        docker.image.remove(name)


def test_an_image_is_pulled_once(docker: DockerClient, platform: NodePlatform, pushed: str) -> None:
    said: list[str] = []
    assert find_base(docker, pushed, platform) is None
    pulled = ensure_base(docker, pushed, platform, said.append)
    assert (pulled.name, pulled.origin) == (pushed, "pulled")
    assert said == [f"base image: pulling {pushed}"]
    again = ensure_base(docker, pushed, platform, said.append)
    assert (again.id, again.origin) == (pulled.id, "present")
    assert len(said) == 1


def test_an_image_the_registry_does_not_have_is_the_users_mistake(
    docker: DockerClient, platform: NodePlatform, pushed: str
) -> None:
    name = f"{pushed}-of-nobody"
    with pytest.raises(InputError, match=r"manifest unknown") as caught:
        ensure_base(docker, name, platform, print)
    assert name in caught.value.message
    assert caught.value.exit_status == 2


def test_a_named_image_has_no_stand_in(
    docker: DockerClient, platform: NodePlatform, pushed: str, registry: Registry
) -> None:
    registry.stop()
    with pytest.raises(MachineError, match="connection refused") as caught:
        ensure_base(docker, pushed, platform, print)
    assert "docker load" in caught.value.hint


@pytest.mark.parametrize(("status", "error"), [(503, MachineError), (401, InputError)])
def test_a_registry_in_trouble_and_one_that_refuses(
    docker: DockerClient,
    platform: NodePlatform,
    answering: Callable[[int], AbstractContextManager[str]],
    status: int,
    error: type[Exception],
) -> None:
    with answering(status) as address, pytest.raises(error, match=address):
        ensure_base(docker, f"{address}/a:1", platform, print)


def test_the_default_is_pulled_where_a_registry_answers(
    docker: DockerClient, platform: NodePlatform, pushed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_image, "DEFAULT_BASE_IMAGE", pushed)
    # An engine on which no stand-in was ever made: its name would win over a pull.
    monkeypatch.setattr("metta_sandbox.image.debian_base.REPOSITORY", "metta-sandbox-test-base")
    assert ensure_base(docker, pushed, platform, print).origin == "pulled"


def test_a_stand_in_takes_the_defaults_place_by_itself(
    docker: DockerClient,
    platform: NodePlatform,
    base: BaseImage,
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = f"{registry.address}/library/python:3.11"
    registry.stop()
    monkeypatch.setattr(base_image, "DEFAULT_BASE_IMAGE", name)
    monkeypatch.setattr("metta_sandbox.image.debian_base.REPOSITORY", "metta-sandbox-test-base")
    asked: list[DebianBase] = []

    def instead(_docker: DockerClient, wanted: DebianBase) -> str:
        asked.append(wanted)
        return base.name

    monkeypatch.setattr(base_image, "make_base", instead)
    said: list[str] = []
    got = ensure_base(docker, name, platform, said.append)
    assert (got.name, got.origin) == (base.name, "packages")
    assert asked == [DebianBase(platform.debian_architecture)]
    assert len(said) == 2
    assert "connection refused" in said[1]
    assert "making one from packages" in said[1]


def test_a_registry_that_never_says_anything_is_given_up(
    docker: DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_image, "FIRST_ANSWER_SECONDS", 1.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        name = f"127.0.0.1:{silent.getsockname()[1]}/a:1"
        assert base_image.pull(docker, name) == "no answer within 1 s"


@pytest.mark.slow
def test_a_base_from_packages_is_what_the_dockerfile_expects(
    docker: DockerClient, platform: NodePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metta_sandbox.image.debian_base.REPOSITORY", "metta-sandbox-test-base")
    wanted = DebianBase(platform.debian_architecture)
    tag = make_base(docker, wanted)
    try:
        script = (
            "import os, ssl, sys, venv; assert sys.version_info[:2] == (3, 11);"
            "assert not os.path.exists('/etc/apt/apt.conf.d/99mmdebstrap')"
        )
        for name in ("python", "python3"):
            docker.run(tag, [name, "-c", script], remove=True, networks=["none"])
    finally:
        docker.image.remove(tag)


def test_a_name_no_image_can_have_is_the_users_mistake(
    docker: DockerClient, platform: NodePlatform
) -> None:
    with pytest.raises(InputError, match="invalid reference format"):
        ensure_base(docker, "Not A Name", platform, print)
