"""What of a working folder stays behind, as rsync reads ``.skyignore`` or ``.gitignore``."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from metta_sandbox.errors import InputError
from metta_sandbox.skypilot.ignoring import ignoring

FILES = ("a.log", "b.py", "build/x", "sub/a.log", "sub/build/y", "sub/keep.txt", "deep/er/c.tmp")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        path = tmp_path / "from" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "from"


def copied(folder: Path) -> set[str]:
    target = folder.parent / "to"
    shutil.copytree(folder, target, ignore=ignoring(folder))
    names = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    return names - {".gitignore", ".skyignore", "sub/.gitignore"}


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        ("*.log", {"a.log", "sub/a.log"}),
        ("/a.log", {"a.log"}),
        ("build/", {"build/x", "sub/build/y"}),
        ("/build/", {"build/x"}),
        ("sub/build", {"sub/build/y"}),
        ("deep/**/*.tmp", {"deep/er/c.tmp"}),
        ("# *.log\n\n!b.py\n?.py", {"b.py"}),
        ("[ab].*", {"a.log", "b.py", "sub/a.log"}),
    ],
)
def test_rules_of_a_folder(folder: Path, rules: str, left: set[str]) -> None:
    (folder / ".gitignore").write_text(rules)

    assert copied(folder) == set(FILES) - left


def test_rules_hold_from_their_folder_on(folder: Path) -> None:
    (folder / "sub" / ".gitignore").write_text("*.log")

    assert copied(folder) == set(FILES) - {"sub/a.log"}


def test_skyignore_goes_before_gitignore(folder: Path) -> None:
    (folder / ".gitignore").write_text("*.log")
    (folder / ".skyignore").write_text("*.py")

    assert copied(folder) == set(FILES) - {"b.py"}


def test_patterns_with_very_many_ways_to_match_are_matched_at_once(tmp_path: Path) -> None:
    names = ["a" * 200, "a" * 199 + "b"]
    (tmp_path / ".skyignore").write_text("*a" * 12 + "*b\n")

    assert ignoring(tmp_path)(str(tmp_path), names) == {names[1]}


@pytest.mark.parametrize("name", [".skyignore", ".gitignore"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_file_holds_no_rules_and_nobody_waits_for_it(
    tmp_path: Path, name: str, kind: str
) -> None:
    if kind == "pipe":
        os.mkfifo(tmp_path / name)
    else:
        (tmp_path / name).symlink_to("/dev/zero")

    with pytest.raises(InputError, match="not a file"):
        ignoring(tmp_path)(str(tmp_path), ["train.py"])
