from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from metta_sandbox.errors import MachineError
from metta_sandbox.report.artifacts import create_run_folder, create_scenario_folder, run_id


def test_ids_sort_by_time_whatever_the_time_zone() -> None:
    began = datetime(2026, 11, 22, 18, 35, 12, tzinfo=timezone.utc)
    east = timezone(timedelta(hours=9))

    ids = [
        run_id((began + timedelta(minutes=n)).astimezone(east if n % 2 else None)) for n in range(5)
    ]

    assert ids == sorted(ids)
    assert ids[0].startswith("20261122T183512-")


def test_latest_points_at_the_newest_and_stays_valid_when_the_folder_moves(tmp_path: Path) -> None:
    root = tmp_path / "a" / "artifacts"
    first, second = create_run_folder(root), create_run_folder(root)

    assert first != second
    assert (root / "latest").resolve() == second
    moved = root.rename(tmp_path / "moved")
    assert (moved / "latest").resolve() == moved / second.name


def test_a_folder_that_is_there_is_never_taken(tmp_path: Path) -> None:
    names = iter(["one", "one", "two"])
    (tmp_path / "one").mkdir()

    folder = create_run_folder(tmp_path, name=lambda: next(names))

    assert folder == tmp_path / "two"


def test_a_folder_of_ones_own_called_latest_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "latest").mkdir()
    (tmp_path / "latest" / "mine").touch()

    create_run_folder(tmp_path)

    assert (tmp_path / "latest" / "mine").exists()


def test_runs_that_begin_together_get_folders_of_their_own(tmp_path: Path) -> None:
    made: list[Path] = []
    threads = [
        threading.Thread(target=lambda: made.append(create_run_folder(tmp_path))) for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(made)) == 16
    assert (tmp_path / "latest").resolve() in made
    assert not list(tmp_path.glob(".latest*"))


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(MachineError, match=r"cannot be written to .*file") as caught:
        create_run_folder(tmp_path / "file")
    assert caught.value.exit_status == 3


def test_scenarios_of_one_name_get_folders_of_their_own(tmp_path: Path) -> None:
    folders = [create_scenario_folder(tmp_path, "basic").name for _ in range(3)]

    assert folders == ["basic", "basic-2", "basic-3"]
