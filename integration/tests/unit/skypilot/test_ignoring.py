"""What of a working folder stays behind, as rsync reads ``.skyignore`` or ``.gitignore``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

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
