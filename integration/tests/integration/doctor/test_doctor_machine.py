from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from python_on_whales import DockerClient

from metta_sandbox import doctor
from metta_sandbox.doctor import read_engine
from metta_sandbox.doctor.item import NEEDS_AN_ENGINE, DoctorItem, Status
from metta_sandbox.doctor.probe import Deadline
from metta_sandbox.doctor.read_engine import ImagesFound
from metta_sandbox.image.node_image import Image, ImageSpec, ensure_image

NAMES = [
    *("access", "engine", "architecture", "compose", "buildkit", "disk", "engine memory"),
    *("cgroup", "shared memory", "networks", "nfqueue", "clock", "base image"),
    *("node image", "packages", "python", "stacks", "memory"),
]


def by_name(items: tuple[DoctorItem, ...]) -> dict[str, DoctorItem]:
    return {item.name: item for item in items}


def run_doctor(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "metta_sandbox", "doctor", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environ},
    )


def left_behind(docker: DockerClient) -> list[str]:
    """List what doctors make: by label, since other tests and runs are at work beside."""
    containers = docker.container.list(all=True, filters=[("label", "dev.metta-sandbox.run")])
    labels = [one.config.labels or {} for one in containers]
    runs = [each["dev.metta-sandbox.run"] for each in labels]
    images = [tag for image in docker.image.list("metta-sandbox-doctor") for tag in image.repo_tags]
    return [*(run for run in runs if run.startswith("doctor-")), *images]


@pytest.fixture(scope="module")
def image(docker: DockerClient) -> Image:
    """The nodes' image, which a machine that has never played anything lacks."""
    return ensure_image(ImageSpec(), print, docker)


@pytest.mark.usefixtures("image")
def test_this_machine_can_play_scenarios_on_its_engine(docker: DockerClient) -> None:
    report = doctor.examine(60)
    items = by_name(report.items)
    assert list(items) == NAMES
    assert report.ok, [item for item in report.items if item.status is Status.MISSING]
    server = docker.version().server
    assert server is not None
    assert items["engine"].found.startswith(str(server.version))
    assert [name for name, item in items.items() if item.status is Status.UNKNOWN] == []
    assert left_behind(docker) == []


@pytest.mark.usefixtures("docker", "image")
def test_a_container_and_a_namespace_of_this_machine_find_the_same() -> None:
    deadline = Deadline(60)
    info = read_engine.read_info(deadline)
    if not info.here:
        pytest.skip("the engine runs on another machine")
    images = read_engine.read_images(deadline, info)
    assert images.base
    contained = read_engine.read_inside(deadline, info, images)
    assert contained.shared_memory == 2 * 2**30
    assert contained.disk_free
    assert contained.nfqueue in {"present", "absent"}
    assert read_engine.read_inside(deadline, info, ImagesFound("")).nfqueue == contained.nfqueue


@pytest.mark.usefixtures("docker")
def test_an_unusable_buildkit_is_found_by_building(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_engine.read_buildkit(Deadline(60)) == ""
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    assert "requires BuildKit" in read_engine.read_buildkit(Deadline(60))


@pytest.mark.usefixtures("docker")
def test_the_node_image_of_a_run_is_recognised(image: Image) -> None:
    deadline = Deadline(60)
    found = read_engine.read_images(deadline, read_engine.read_info(deadline))
    assert found == ImagesFound(image.base, image.tag, built=True)


def test_the_command_on_a_machine_with_an_engine(docker: DockerClient) -> None:
    done = run_doctor("--json")
    assert done.returncode == 0, done.stdout
    report = json.loads(done.stdout)
    assert report["ok"] is True
    assert [item["name"] for item in report["items"]] == NAMES
    assert left_behind(docker) == []


def test_a_dead_socket(tmp_path: Path) -> None:
    dead = f"unix://{tmp_path}/docker.sock"
    plain = run_doctor(DOCKER_HOST=dead)
    assert plain.returncode == 3
    assert plain.stderr == ""
    assert "\x1b" not in plain.stdout
    lines = plain.stdout.splitlines()
    assert lines[0].startswith("missing  engine ")
    assert "unset DOCKER_HOST" in lines[1]
    assert sum(line.startswith("missing") for line in lines) == 1
    assert plain.stdout.count(NEEDS_AN_ENGINE) == 1
    told = json.loads(run_doctor("--json", DOCKER_HOST=dead).stdout)
    assert told["ok"] is False
    assert [item["name"] for item in told["items"]] == NAMES[1:]


def test_an_engine_that_accepts_and_never_answers(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)
        done = run_doctor(DOCKER_HOST=f"unix://{path}")  # which would else wait for ever
    assert done.returncode == 3
    assert "the Docker engine does not answer" in done.stdout
    assert "ok       python" in done.stdout


def test_indexes_are_shown_without_their_passwords(tmp_path: Path) -> None:
    environ = {
        "DOCKER_HOST": f"unix://{tmp_path}/docker.sock",
        "PIP_INDEX_URL": "https://bob:hunter2@index.example/hunter2/simple",
        "PIP_EXTRA_INDEX_URL": "https://hunter2@extra.example/?key=hunter2",
        "PIP_FIND_LINKS": "https://hunter2:hunter2@links.example/hunter2",
    }
    said = [run_doctor(*words, **environ).stdout for words in ((), ("--json",))]
    for text in said:
        assert "hunter2" not in text
        for host in ("index", "extra", "links"):
            assert f"https://{host}.example" in text
