"""A working folder that every trial finds as setup left it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from metta_sandbox.node.fresh import CopyError, Workplace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    (folder / "data/deep").mkdir(parents=True)
    (folder / "train.py").write_text("print(1)\n")
    (folder / "train.py").chmod(0o755)
    (folder / "data/deep/a.bin").write_bytes(b"a" * 100)
    (folder / "link").symlink_to("data/deep/a.bin")
    os.mkfifo(folder / "pipe")
    return folder


def listed(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def test_whatever_a_trial_does_the_next_finds_what_setup_left(folder: Path, tmp_path: Path) -> None:
    before = listed(folder)
    place = Workplace(folder, tmp_path / "shared/.as-set-up/workspace")
    untouched = (folder / "train.py").stat()

    (folder / "snapshot.pt").write_text("epoch 3")
    (folder / "out/more").mkdir(parents=True)
    (folder / "out/more/log").write_text("x")
    with (folder / "data/deep/a.bin").open("r+b") as file:  # as large, and written in place
        file.write(b"b")
    (folder / "link").unlink()
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__/x.pyc").write_text("")
    moved = place.renew(tmp_path / "left/r.1")

    assert listed(folder) == before
    assert moved == 4
    assert listed(tmp_path / "left/r.1") == {
        "snapshot.pt": "epoch 3",
        "out/more/log": "x",
        "data/deep/a.bin": "b" + "a" * 99,
    }
    now = (folder / "train.py").stat()
    assert (now.st_ino, now.st_mode) == (untouched.st_ino, untouched.st_mode)
    assert (folder / "data/deep/a.bin").stat().st_nlink == 1

    # And once more, after a folder that setup left has gone.
    (folder / "data/deep/a.bin").unlink()
    (folder / "data/deep").rmdir()
    (folder / "data").rmdir()
    (folder / "data").write_text("a file now")
    assert place.renew(tmp_path / "left/r.2") == 1
    assert listed(folder) == before
    assert place.renew(tmp_path / "left/r.3") == 0
    assert not (tmp_path / "left/r.3").exists()


def test_what_is_kept_stays_when_a_node_comes_back(folder: Path, tmp_path: Path) -> None:
    before = listed(folder)
    Workplace(folder, tmp_path / "kept")
    (folder / "train.py").write_text("broken")

    Workplace(folder, tmp_path / "kept").renew(tmp_path / "left")

    assert listed(folder) == before


def test_a_folder_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CopyError, match="can't be made fresh") as caught:
        Workplace(tmp_path / "gone", tmp_path / "kept")
    assert "workload.fresh: sweep" in caught.value.hint
