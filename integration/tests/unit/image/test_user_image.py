"""What an image of the user's must have, and what one is built from."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from metta_sandbox.image import user_image
from metta_sandbox.image.build import ImageBuild
from metta_sandbox.image.user_image import UserImage

FINE = UserImage("t", "id", "/usr/bin/python3", "3.12", "2.36", bash=True, venv=True)


def test_a_fine_one_lacks_nothing() -> None:
    assert FINE.lacks(rollout=True) == FINE.lacks(rollout=False) == ""


@pytest.mark.parametrize(
    ("other", "for_a_command", "for_our_rollout"),
    [
        (replace(FINE, python="3.8"), "the agent needs 3.9", "the agent needs 3.9"),
        (replace(FINE, python="3.9"), "", "our rollout needs Python 3.11 or 3.12"),
        (replace(FINE, python="3.13"), "", "it has 3.13"),
        (replace(FINE, bash=False), "it has no bash", ""),
        (replace(FINE, glibc="2.31"), "", "our rollout needs glibc 2.34; it has glibc 2.31"),
        (replace(FINE, glibc=""), "", "another C library than glibc"),
        (replace(FINE, venv=False), "", "python3-venv is missing"),
    ],
)
def test_what_is_missing_is_said(
    other: UserImage, for_a_command: str, for_our_rollout: str
) -> None:
    for said, expected in (
        (other.lacks(rollout=False), for_a_command),
        (other.lacks(rollout=True), for_our_rollout),
    ):
        assert expected in said
        assert bool(said) == bool(expected)


def test_a_build_is_asked_for_in_full() -> None:
    build = ImageBuild(Path("/x"), "docker/D", (("A", "$1"),), "stage")
    assert build.compose_file() == {
        "services": {
            "node": {
                "image": build.tag,
                "build": {
                    "context": "/x",
                    "dockerfile": "docker/D",
                    "args": {"A": "$$1"},
                    "labels": {"dev.metta-sandbox.kind": "built"},
                    "target": "stage",
                },
            }
        }
    }
    others = [replace(build, target=None), replace(build, args=()), replace(build, dockerfile="E")]
    assert len({build.tag, *(other.tag for other in others)}) == 4


def test_secrets_of_a_build_are_only_in_its_client_s_environment(tmp_path: Path) -> None:
    build = ImageBuild(tmp_path, secrets=(("TOKEN", "hunter2-hunter2"),))
    asked = build.compose_file()
    assert asked["secrets"] == {"TOKEN": {"environment": "METTA_BUILD_SECRET_TOKEN"}}
    assert "hunter2" not in f"{asked} {build}"
    assert build.tag == replace(build, secrets=()).tag
    with build.giving_secrets():
        assert os.environ["METTA_BUILD_SECRET_TOKEN"] == "hunter2-hunter2"
    assert "METTA_BUILD_SECRET_TOKEN" not in os.environ


def test_what_is_kept_of_a_build_is_the_caller_s_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def build_it(_docker: object, file: Path, _tag: str, _progress: object) -> None:
        assert file.stat().st_mode & 0o777 == 0o600
        seen.append(os.environ["METTA_BUILD_SECRET_TOKEN"])

    monkeypatch.setattr(user_image, "cache_folder", lambda *_: tmp_path)
    monkeypatch.setattr(user_image, "run_build", build_it)
    build = ImageBuild(tmp_path, secrets=(("TOKEN", "hunter2-hunter2"),))
    for _ in range(2):
        user_image._build(None, build, print)  # type: ignore[arg-type]
    assert seen == ["hunter2-hunter2"] * 2
    assert all("hunter2" not in file.read_text() for file in tmp_path.iterdir())
