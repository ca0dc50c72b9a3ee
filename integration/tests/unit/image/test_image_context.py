from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from metta_sandbox.image.image_context import (
    RESPITE_SECONDS,
    BuildInputs,
    NodeUser,
    read_sources,
    stage,
    unused_tags,
)
from metta_sandbox.resources import compose_folder

INPUTS = BuildInputs(
    base_image="base:1",
    base_id="sha256:b",
    wheelhouse_key="k",
    python="3.11",
    user=NodeUser(501, 20),
    sources=(("node/a.py", b"1"),),
    dockerfile="FROM x\n",
)


def test_root_gets_a_user_of_its_own_and_others_their_numbers() -> None:
    assert NodeUser.of_caller(0, 0) == NodeUser(1000, 1000)
    assert NodeUser.of_caller(501, 20) == NodeUser(501, 20)
    assert NodeUser.of_caller().uid == (os.getuid() or 1000)


@pytest.mark.parametrize(
    "other",
    [
        replace(INPUTS, base_id="sha256:c"),
        replace(INPUTS, wheelhouse_key="l"),
        replace(INPUTS, python="3.12"),
        replace(INPUTS, user=NodeUser(502, 20)),
        replace(INPUTS, sources=(("node/a.py", b"2"),)),
        replace(INPUTS, sources=(("node/b.py", b"1"),)),
        replace(INPUTS, dockerfile="FROM y\n"),
        replace(INPUTS, interpreter="/usr/bin/python3"),
    ],
)
def test_whatever_changes_the_content_changes_the_tag(other: BuildInputs) -> None:
    assert other.tag != INPUTS.tag


def test_a_base_known_by_another_name_is_the_same_image() -> None:
    assert replace(INPUTS, base_image="mirror/base:1").tag == INPUTS.tag


def test_an_image_of_the_users_is_told_its_own_python() -> None:
    asked = replace(INPUTS, interpreter="/usr/bin/python3").compose_file()
    assert asked["services"]["node"]["build"]["args"] == {  # type: ignore[index]
        "BASE_IMAGE": "base:1",
        "PYTHON": "/usr/bin/python3",
    }


def test_the_build_as_compose_gets_it() -> None:
    assert INPUTS.compose_file() == {
        "services": {
            "node": {
                "image": INPUTS.tag,
                "build": {
                    "context": ".",
                    "network": "none",
                    "args": {
                        "BASE_IMAGE": "base:1",
                        "PYTHON_VERSION": "3.11",
                        "NODE_UID": "501",
                        "NODE_GID": "20",
                    },
                    "labels": {
                        "dev.metta-sandbox.kind": "image",
                        "dev.metta-sandbox.uid": "501",
                    },
                },
            }
        }
    }


def test_sources_are_the_package_without_what_python_left_there(tmp_path: Path) -> None:
    for name in ("a.py", "node/b.py", "node/__pycache__/b.pyc", "_compose/Dockerfile"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    assert list(read_sources(tmp_path)) == [("a.py", b"a.py"), ("node/b.py", b"node/b.py")]


def test_staging_starts_from_nothing_and_links_wheels(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "w.whl").write_bytes(b"wheel")
    folder = tmp_path / "context"
    (folder / "lib" / "old").mkdir(parents=True)
    compose_file = stage(folder, INPUTS, wheels)
    assert json.loads(compose_file.read_text()) == INPUTS.compose_file()
    assert not (folder / "lib" / "old").exists()
    assert (folder / "lib" / "metta_sandbox" / "node" / "a.py").read_bytes() == b"1"
    assert (folder / "Dockerfile").read_text() == "FROM x\n"
    assert (folder / "wheelhouse" / "w.whl").stat().st_ino == (wheels / "w.whl").stat().st_ino


def test_staging_copies_where_links_are_impossible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "w.whl").write_bytes(b"wheel")
    stage(tmp_path / "context", INPUTS, tmp_path / "wheels")
    assert (tmp_path / "context" / "wheelhouse" / "w.whl").read_bytes() == b"wheel"


def test_only_old_images_without_containers_go() -> None:
    images = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0, "e": 5.0}
    late = 10 + RESPITE_SECONDS
    assert unused_tags(images, ["b"], late) == ["c", "a"]
    assert unused_tags(images, [], late, keep=5) == []
    assert unused_tags(images, [], 3.0 + RESPITE_SECONDS) == ["b", "a"]


def test_the_dockerfile_asks_nothing_of_a_network() -> None:
    text = (compose_folder() / "Dockerfile").read_text()
    assert not text.startswith("# syntax")
    assert "# syntax=" not in text
    assert "apt-get" not in text
    assert "--no-index" in text
    assert text.index("pip install") < text.index("NODE_UID") < text.index("COPY lib")
