"""What is played when nothing is named."""

from __future__ import annotations

from pathlib import Path

from metta_sandbox.scenario.files import find, find_own


def test_a_folders_own_files_are_played_and_those_below_when_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "cookbook").mkdir()
    for name in ("b.yaml", "a.yml", "_base.yaml", "notes.txt", "cookbook/c.yaml"):
        (tmp_path / name).touch()

    assert [path.name for path in find_own(tmp_path)] == ["a.yml", "b.yaml"]
    assert [path.name for path in find([tmp_path])] == ["a.yml", "b.yaml", "c.yaml"]


def test_a_folder_without_any_stands_for_itself(tmp_path: Path) -> None:
    assert find_own(tmp_path / "gone") == [tmp_path / "gone"]
