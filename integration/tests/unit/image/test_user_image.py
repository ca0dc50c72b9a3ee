"""What an image of the user's must have, and what one is built from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from metta_sandbox.image.build import Build
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
    build = Build(Path("/x"), "docker/D", (("A", "$1"),), "stage")
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
