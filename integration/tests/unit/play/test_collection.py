"""What of the nodes' folder stays in the artifacts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from metta_sandbox import removing
from metta_sandbox.play.collection import keep_within
from metta_sandbox.scenario.artifacts import Artifacts

SECRET = "only for the caller"


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "shared" / "trials" / "r").mkdir(parents=True)
    return tmp_path / "shared"


def left_out(shared: Path, *places: str, **limits: int) -> dict[str, str]:
    told = keep_within(shared, Artifacts(**limits), places)
    assert told.count == len(told.files)
    return {one.file: one.why for one in told.files}


def kept(shared: Path) -> set[str]:
    return {str(each.relative_to(shared)) for each in shared.rglob("*") if not each.is_dir()}


def test_only_plain_files_and_folders_stay(shared: Path) -> None:
    (shared / "root").symlink_to("/")
    (shared / "trials" / "r" / "rank-0.log").symlink_to(shared.parent / "secret")
    (shared / "trials" / "r" / "trial.json").hardlink_to(shared.parent / "secret")
    os.mkfifo(shared / "trials" / "pipe")
    with (shared / "huge").open("wb") as file:
        file.truncate(5 << 30)
    (shared / "deep" / "file").mkdir(parents=True)
    (shared / "deep" / "file" / "plain").write_text("x")

    assert left_out(shared) == {
        "shared/root": "a symbolic link",
        "trials/r/rank-0.log": "a symbolic link",
        "trials/r/trial.json": "a hard link to a file elsewhere",
        "trials/pipe": "a pipe",
        "shared/huge": "too large: artifacts.size is 4GiB",
    }
    assert kept(shared) == {"deep/file/plain"}
    assert (shared.parent / "secret").read_text() == SECRET
    assert left_out(shared) == {}


def test_what_nodes_sent_to_a_service_is_bounded_as_what_they_wrote(shared: Path) -> None:
    (shared / "trials" / "r" / "0af3").write_text("x" * 9)
    (shared / "1be4").write_text("x" * 5)

    told = keep_within(shared, Artifacts(size=8), called="api/wandb/files")

    assert [one.file for one in told.files] == ["api/wandb/files/trials/r/0af3"]
    assert kept(shared) == {"1be4"}


def test_links_within_the_folder_become_what_they_stand_for(shared: Path) -> None:
    trial = shared / "trials" / "r"
    (trial / "epoch-2.pt").write_text("weights")
    (trial / "checkpoint.pt").symlink_to("epoch-2.pt")
    (trial / "last.pt").symlink_to("/mnt/run/trials/r/epoch-2.pt")
    (trial / "best.pt").hardlink_to(trial / "epoch-2.pt")
    (shared / "latest").symlink_to("trials/r")
    (trial / "odd.pt").symlink_to("../../../shared/trials/r/epoch-2.pt")

    assert left_out(shared, "/mnt/run") == {"trials/r/odd.pt": "a symbolic link"}
    names = ("epoch-2.pt", "checkpoint.pt", "last.pt", "best.pt")
    assert kept(shared) == {f"trials/r/{name}" for name in names}
    for name in names:
        found = (trial / name).lstat()
        assert found.st_nlink == 1
        assert (trial / name).read_text() == "weights"


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"size": 120}, "too large: artifacts.size is 120"),
        ({"files": 2}, "too many: artifacts.files is 2"),
    ],
)
def test_what_the_sandbox_needs_has_room_before_all_else(
    shared: Path, limits: dict[str, int], why: str
) -> None:
    for name, size in {
        "a": 1,
        "b": 30,
        "trials/r/trial.json": 90,
        "trials/r/rank-0.log": 20,
    }.items():
        (shared / name).write_bytes(bytes(size))

    told = left_out(shared, **limits)

    assert set(told.values()) == {why}
    assert kept(shared) >= {"trials/r/trial.json", "trials/r/rank-0.log"}
    assert sum((shared / name).stat().st_size for name in kept(shared)) <= 120
    assert set(told) <= {"shared/a", "shared/b"}


def test_ever_so_many_names_are_removed(shared: Path) -> None:
    for number in range(40):
        (shared / f"folder-{number}").mkdir()
        (shared / f"folder-{number}" / "file").touch()
    (shared / "trials" / "r" / "trial.json").write_text("{}")

    told = keep_within(shared, Artifacts(files=5))

    assert told.count >= 30
    assert {one.why for one in told.files} == {"too many: artifacts.files is 5"}
    assert "trials/r/trial.json" in kept(shared)
    assert len(list(shared.rglob("*"))) < 20


def test_a_folder_of_any_depth_is_removed(shared: Path) -> None:
    here = os.open(shared, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        here, before = os.open("d", os.O_RDONLY, dir_fd=here), here
        os.close(before)
    os.close(here)

    told = left_out(shared)

    assert list(told.values()) == ["too deep"]
    removing.empty(shared)
    assert list(shared.iterdir()) == []


def test_names_that_are_no_text_are_left_out_and_told_in_letters(shared: Path) -> None:
    (shared / os.fsdecode(b"no-\xff-text")).touch()
    (shared / "trials" / "\x1b[31m\n").symlink_to("/")
    assert left_out(shared) == {
        r"shared/no-\udcff-text": "its name is no text",
        r"trials/\x1b[31m\n": "a symbolic link",
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is locked for root")
def test_locked_folders_are_opened(shared: Path) -> None:
    (shared / "locked").mkdir()
    (shared / "locked" / "link").symlink_to("/")
    (shared / "locked").chmod(0)
    assert left_out(shared) == {"shared/locked/link": "a symbolic link"}


def test_a_folder_that_is_a_link_itself_is_not_touched(shared: Path, tmp_path: Path) -> None:
    (shared / "kept").write_text("x")
    (tmp_path / "other").symlink_to(shared)
    for change in (lambda: keep_within(tmp_path / "other", Artifacts()), _emptying(tmp_path)):
        with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
            change()
    assert kept(shared) == {"kept"}


def _emptying(folder: Path) -> Any:
    return lambda: removing.empty(folder / "other")


def test_a_link_that_every_run_of_wandb_has_is_dropped_without_a_word(shared: Path) -> None:
    for run in ("wandb/offline-run-1", "trials/r/rank-0/wandb/offline-run-2"):
        (shared / run / "logs").mkdir(parents=True)
        (shared / run / "logs" / "debug-core.log").symlink_to("/home/metta/.cache/core.log")
    assert left_out(shared) == {}
    assert kept(shared) == set()


def test_what_moves_to_another_file_system_is_its_plain_files(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shared / "trials" / "r" / "file").write_text("x")
    (shared / "trials" / "link").symlink_to("/")

    def refuse(_self: Path, _target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "rename", refuse)
    removing.take(shared / "trials", tmp_path / "target")

    assert kept(tmp_path / "target") == {"r/file"}
    assert not (shared / "trials").exists()
