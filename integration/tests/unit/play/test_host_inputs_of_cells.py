"""What a cell of a matrix lacks is told where that cell's own value stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from metta_sandbox.errors import InputError
from metta_sandbox.play.host_inputs import provision, require_folders
from metta_sandbox.scenario.loading import load_all


def test_a_missing_folder_is_told_at_its_own_cell(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    file = tmp_path / "place.yaml"
    file.write_text(
        "version: 1\nname: x\n"
        "matrix:\n  workload.folder: [here, absent, gone]\n  nodes: [1, 2]\n"
        'workload:\n  run: "true"\n'
    )
    with pytest.raises(InputError) as caught:
        require_folders(load_all([file]))
    assert [(one.line, one.column, one.message) for one in caught.value.problems] == [
        (4, 27, f"workload.folder: {tmp_path}/absent is no folder"),
        (4, 35, f"workload.folder: {tmp_path}/gone is no folder"),
    ]


@pytest.mark.parametrize("name", ["x", "x-${which}"])
def test_a_missing_file_is_told_at_its_own_cell_whatever_the_command_line_sets(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "here").write_text("einops\n")
    file = tmp_path / "place.yaml"
    file.write_text(
        f"version: 1\nname: {name}\nvariables: {{which: one}}\ntags: ['${{which}}']\n"
        "matrix:\n  workload.requirements: [here, absent]\n"
        'workload:\n  run: "true"\n'
    )
    with pytest.raises(InputError) as caught:
        require_folders(load_all([file], {"which": "two"}))
    assert [(one.line, one.column, one.message) for one in caught.value.problems] == [
        (6, 33, f"workload.requirements: {tmp_path}/absent is no file"),
    ]


def test_a_place_is_where_the_file_said_it_when_it_was_read(tmp_path: Path) -> None:
    file = tmp_path / "place.yaml"
    file.write_text("version: 1\nname: x\nworkload:\n  folder: absent\n")
    loaded = load_all([file])
    file.write_text("# written anew meanwhile\n" * 9)
    with pytest.raises(InputError) as caught:
        require_folders(loaded)
    assert [(one.line, one.column) for one in caught.value.problems] == [(4, 11)]


def test_requirements_stand_where_their_cell_has_them(tmp_path: Path) -> None:
    file = tmp_path / "place.yaml"
    file.write_text(
        "version: 1\nname: x\nmatrix:\n  workload.requirements: [[a], [b>=1]]\n"
        "workload:\n  trainer: {command: python a.py}\n"
    )
    found = [provision(one).requirements[0] for one in load_all([file])]
    assert [(one.text, one.line, one.column) for one in found] == [("a", 4, 28), ("b>=1", 4, 33)]
