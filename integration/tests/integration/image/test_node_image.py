"""The node image itself. It is built once into the user's cache; what follows is small layers."""

from __future__ import annotations

import shutil
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from python_on_whales import DockerClient

from metta_sandbox.errors import MachineError, StackError
from metta_sandbox.image.image_context import KIND_LABEL, REPOSITORY, UID_LABEL, NodeUser
from metta_sandbox.image.node_image import Image, ImageSpec, ensure_image, prune
from metta_sandbox.resources import package_folder


@pytest.fixture(scope="module")
def image(docker: DockerClient) -> Image:
    return ensure_image(ImageSpec(), print, docker)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package that nobody else builds from: a line of it is this test's own."""
    copied = tmp_path / "metta_sandbox"
    shutil.copytree(package_folder(), copied, ignore=shutil.ignore_patterns("__pycache__"))
    with (copied / "errors.py").open("a") as file:
        file.write(f"\nCHANGED = {time.time_ns()}\n")
    return copied


def layers(docker: DockerClient, tag: str) -> list[str]:
    found = docker.image.inspect(tag).root_fs.layers
    assert found is not None
    return list(found)


def run(docker: DockerClient, image: Image, *command: str) -> str:
    output = docker.run(image.tag, list(command), remove=True, networks=["none"])
    assert isinstance(output, str)
    return output


def test_nothing_changed_is_nothing_built(docker: DockerClient, copy: Path) -> None:
    spec = ImageSpec(package=copy)
    first = ensure_image(spec, print, docker)
    said: list[str] = []
    second = ensure_image(spec, said.append, docker)
    assert not second.built
    assert said == []
    assert (second.tag, second.id) == (first.tag, first.id)
    assert set(second.seconds) == {"look"}
    docker.image.remove(first.tag)


def test_a_changed_line_of_ours_keeps_every_layer_below(
    docker: DockerClient, image: Image, copy: Path
) -> None:
    changed = ensure_image(ImageSpec(package=copy), print, docker)
    try:
        before, after = layers(docker, image.tag), layers(docker, changed.tag)
        assert changed.built
        assert changed.tag != image.tag
        common = [old == new for old, new in zip(before, after, strict=True)].index(False)
        # Base, environment, packages, user, the workload's own environment: all but our code and
        # its registration.
        assert common == 5
        assert "wheelhouse" in changed.seconds
        assert run(
            docker, changed, "python", "-c", "import metta_sandbox.errors as e; print(e.CHANGED)"
        ).isdigit()
    finally:
        docker.image.remove(changed.tag)


def test_a_node_runs_as_the_caller(docker: DockerClient, image: Image) -> None:
    user = NodeUser.of_caller()
    script = "id -u; id -g; id -un; echo $HOME; pwd; touch ~/x /mnt/s3/train_dir/x"
    lines = run(docker, image, "bash", "-lc", script).splitlines()
    assert lines[:3] == [str(user.uid), str(user.gid), "metta"]
    assert lines[3] == "/home/metta"
    assert lines[4] == "/home/metta"
    assert run(docker, image, "bash", "-c", "which python") == "/home/metta/venv/bin/python"


def test_a_node_has_its_packages_and_our_code(docker: DockerClient, image: Image) -> None:
    script = (
        "import os, torch, mettagrid, wandb, fastapi, sklearn, metta_sandbox;"
        "assert 'PYTHONPATH' not in os.environ;"
        "print(torch.version.cuda, metta_sandbox.__file__)"
    )
    assert run(docker, image, "python", "-c", script) == (
        "None /opt/metta/lib/metta_sandbox/__init__.py"
    )


def test_compiled_code_is_there_from_the_start(docker: DockerClient, image: Image) -> None:
    script = (
        "import importlib.util as u, os, sys;"
        "missing = [n for n in ('torch', 'wandb', 'metta_sandbox.errors')"
        " if not os.path.exists(u.cache_from_source(u.find_spec(n).origin))];"
        "print(missing)"
    )
    assert run(docker, image, "python", "-B", "-c", script) == "[]"


def test_another_user_shares_the_layer_of_packages(docker: DockerClient, image: Image) -> None:
    other = ensure_image(ImageSpec(user=NodeUser(54321, 54322)), print, docker)
    try:
        assert layers(docker, other.tag)[:3] == layers(docker, image.tag)[:3]
        assert run(docker, other, "id", "-u") == "54321"
    finally:
        docker.image.remove(other.tag)


def test_what_an_image_is_for_stands_on_it(docker: DockerClient, image: Image) -> None:
    labels = docker.image.inspect(image.tag).config.labels
    assert labels is not None
    assert labels[KIND_LABEL] == "image"
    assert labels[UID_LABEL] == str(NodeUser.of_caller().uid)


@pytest.fixture
def unfit(docker: DockerClient, tmp_path: Path) -> Iterator[str]:
    """A base image without anything in it."""
    archive = tmp_path / "empty.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(__file__, "file")
    docker.image.import_(archive, "metta-sandbox-test-unfit:1")
    yield "metta-sandbox-test-unfit:1"
    docker.image.remove("metta-sandbox-test-unfit:1")


def test_a_failed_build_tells_its_last_lines(docker: DockerClient, unfit: str) -> None:
    with pytest.raises(StackError) as caught:
        ensure_image(ImageSpec(base_image=unfit), print, docker)
    assert "/bin/sh" in caught.value.message
    assert len(caught.value.message.splitlines()) <= 31


def test_an_engine_that_does_not_answer_is_the_machines_fault() -> None:
    nobody = DockerClient(host="tcp://127.0.0.1:1")
    with pytest.raises(MachineError, match=r"127\.0\.0\.1:1"):
        ensure_image(ImageSpec(), print, nobody)


def test_old_images_are_pruned_and_others_left(
    docker: DockerClient, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    user = NodeUser(987654, 987654)
    tags = [f"{REPOSITORY}:test-{number}" for number in range(4)]
    for tag in tags:
        archive = tmp_path / "one.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(__file__, tag.replace(":", "-"))
        docker.image.import_(
            archive, tag, changes=[f"LABEL {KIND_LABEL}=image {UID_LABEL}={user.uid}"]
        )
    try:
        assert prune(docker, user) == []
        assert len(prune(docker, user, now=time.time() + 7200)) == 2
        assert sum(docker.image.exists(tag) for tag in tags) == 2
        assert docker.image.exists(image.tag)
    finally:
        docker.image.remove([tag for tag in tags if docker.image.exists(tag)])


@pytest.fixture
def newer(docker: DockerClient, image: Image) -> Iterator[str]:
    """A base image that says it has Python 3.12."""
    name = "metta-sandbox-test-newer"
    script = "rm $(which python3); printf '#!/bin/sh\necho 3.12\n' > /usr/bin/python3"
    script += "; chmod +x /usr/bin/python3"
    container = docker.container.create(image.base, ["sh", "-c", script], name=name)
    try:
        container.start(attach=True)
        container.commit(f"{name}:1")
        yield f"{name}:1"
    finally:
        container.remove(force=True)
        docker.image.remove(f"{name}:1", force=True)


def test_a_wrong_python_in_the_base_is_named(docker: DockerClient, newer: str) -> None:
    with pytest.raises(StackError, match=r"Python 3\.12; the wheelhouse was made for 3\.11"):
        ensure_image(ImageSpec(base_image=newer), print, docker)
