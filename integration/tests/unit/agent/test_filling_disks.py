"""What fills a node's disk from beside it, and how the node finds out."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from metta_sandbox.node.agent import disk_space as room
from metta_sandbox.node.agent.sidecars import disk as filler
from metta_sandbox.node.agent.sidecars.disk import DiskFiller


@pytest.fixture
def mounts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done in the node's view of the file system."""
    done: list[str] = []
    monkeypatch.setattr(filler, "_cover", lambda folder: done.append(f"cover {folder}"))
    monkeypatch.setattr(filler, "_uncover", lambda folder: done.append(f"uncover {folder}"))
    return done


def here(act: Callable[[], None]) -> None:
    act()


def order(verb: str, name: str = "f", folder: str = "/a") -> str:
    return json.dumps({"verb": verb, "args": {"name": name, "folder": folder}})


def test_a_folder_is_covered_once_and_as_long_as_somebody_wants_it(mounts: list[str]) -> None:
    full = DiskFiller(here)

    full.fill("one", "/a")
    full.fill("two", "/a")
    full.empty("one", "/a")
    assert mounts == ["cover /a"]
    full.empty("two", "/a")
    full.empty("two", "/a")

    assert mounts == ["cover /a", "uncover /a"]


def test_what_is_covered_is_uncovered_when_orders_end(
    mounts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert DiskFiller(here).run(iter([order("fill"), order("fill", folder="/b")])) == 0

    assert mounts == ["cover /a", "cover /b", "uncover /a", "uncover /b"]
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {},
        {"result": None},
        {"result": None},
    ]


def test_what_could_not_be_covered_is_said_and_not_uncovered(
    mounts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_act: Callable[[], None]) -> None:
        raise OSError("mount: Operation not permitted")

    DiskFiller(refuse).run(iter([order("fill")]))

    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said == {"error": "OSError: mount: Operation not permitted"}
    assert not mounts


def test_a_node_tells_how_much_is_free_and_that_it_could_write(tmp_path: Path) -> None:
    found = room.room(str(tmp_path))

    assert found["free"] > 0
    assert found["refused"] == ""
    assert not list(tmp_path.iterdir())


def test_a_node_tells_why_it_could_not_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)

    assert room.room(str(tmp_path))["refused"] == "ENOSPC"
    assert not list(tmp_path.iterdir())
