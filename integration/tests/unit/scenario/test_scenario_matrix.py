"""``matrix``: cells, their names, what is excluded, and faults at the value's line."""

import re
from pathlib import Path

import pytest

from metta_sandbox.errors import InputError
from metta_sandbox.scenario.loading import load_files, parse, parse_file, to_yaml
from metta_sandbox.scenario.matrix import MOST_CELLS
from metta_sandbox.scenario.model import Scenario

HEAD = "version: 1\nname: grid\n"


def cells(text: str) -> tuple[Scenario, ...]:
    return parse_file(HEAD + text, Path("grid.yaml")).scenarios


def problems(text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        cells(text)
    return [str(problem) for problem in caught.value.problems]


def test_each_combination_is_a_scenario_of_its_own() -> None:
    found = cells("matrix: {nodes: [1, 2], trainer.batch_size: [256, 512]}")
    assert [(one.nodes, one.overrides["trainer.batch_size"]) for one in found] == [
        (1, 256),
        (1, 512),
        (2, 256),
        (2, 512),
    ]
    assert [one.id for one in found][1] == "grid[nodes=1,batch_size=512]"
    assert [one.name for one in found][1] == "grid-nodes-1-batch-size-512"
    assert found[1].cell is not None
    assert found[1].cell.values == {"nodes": 1, "trainer.batch_size": 512}
    assert [one.sweep.name for one in found] == [one.name for one in found]


def test_a_cell_as_played_is_read_back() -> None:
    for one in cells("matrix: {nodes: [1, 2], sweep.strategy: [random, protein]}"):
        assert parse(to_yaml(one), Path("scenario.yaml")) == one


def test_a_sweeps_own_name_is_kept() -> None:
    found = cells("sweep: {name: mine}\nmatrix: {nodes: [1, 2]}")
    assert [one.sweep.name for one in found] == ["mine", "mine"]


@pytest.mark.parametrize(
    "overrides",
    [
        "{trainer: {batch_size: 1, update_epochs: 2}}",
        "{trainer.batch_size: 1, trainer: {update_epochs: 2}}",
        "{trainer: {update_epochs: 2}}",
        "[trainer.batch_size=1, +trainer.update_epochs=2]",
    ],
)
def test_a_value_goes_over_what_the_file_says_however_it_is_nested(overrides: str) -> None:
    text = (
        f"workload: {{trainer: {{overrides: {overrides}}}}}\nmatrix: {{trainer.batch_size: [64]}}"
    )
    assert cells(text)[0].overrides == {"trainer.batch_size": 64, "trainer.update_epochs": 2}


def test_lists_mappings_and_parameters_differ_too() -> None:
    text = """
sweep: {parameters: {trainer: {ppo: {gamma: {values: [0.9]}}}}}
matrix:
  sweep.parameters.trainer.ppo.gamma: [{values: [0.5]}, {distribution: uniform, min: 0, max: 0.5}]
  expect: [[], [{trials: {failed: 0}}]]
  workload.setup: ["", "echo hello there"]
"""
    found = cells(text)
    assert len(found) == 8
    assert found[0].id == "grid[gamma=#1,expect=#1,setup=#1]"
    assert len({one.name for one in found}) == 8
    assert [len(one.expect) for one in found[:3]] == [0, 0, 1]


def test_keys_with_one_last_part_are_told_apart() -> None:
    found = cells("matrix: {trainer.optimizer.beta1: [0.5], seed: [1]}")
    assert found[0].id == "grid[beta1=0.5,seed=1]"
    text = "workload: {trainer: {command: [x]}}\nmatrix: {a.lr: [1], b.lr: [2]}"
    assert cells(text)[0].id == "grid[a.lr=1,b.lr=2]"


def test_names_are_legal_short_and_unique() -> None:
    values = ["a.b", "a-b", "a/b", "A_b", "-1", "1", "x" * 32, "'ä ö'", "x" * 300, "[1]", "~"]
    text = f"workload: {{trainer: {{command: [x]}}}}\nmatrix: {{own.key: [{', '.join(values)}]}}"
    found = cells(text)
    names = [one.name for one in found]
    assert len(set(names)) == len(values)
    assert len({one.id for one in found}) == len(values)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", name) for name in names)
    assert "grid-key-minus-1" in names


def test_what_is_excluded_is_left_out() -> None:
    found = cells(
        "matrix: {nodes: [1, 2, 4], seed: [1, 2], exclude: [{nodes: 1}, {nodes: 4, seed: 2}]}"
    )
    assert [(one.nodes, one.seed) for one in found] == [(2, 1), (2, 2), (4, 1)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("matrix: [1]", "3:9: matrix: expected a mapping"),
        ("matrix: {}", "3:9: matrix: expected a key and its values"),
        ("matrix: {nodes: 2}", "3:17: matrix.nodes: expected a list of values"),
        ("matrix: {nodes: []}", "3:17: matrix.nodes: expected a list of values"),
        ("matrix: {nodes: [1, 2, 1]}", "3:24: matrix.nodes: this value is given twice"),
        ("matrix: {nodse: [1]}", "3:10: matrix.nodse: unknown key; did you mean nodes?"),
        ("matrix: {sweeps.trials: [1]}", "3:10: matrix.sweeps.trials: unknown key; did you mean s"),
        ("matrix: {sweep.trails: [1]}", "unknown key trails; did you mean trials?"),
        ("matrix: {name: [a]}", "3:10: matrix.name: can't differ from cell to cell"),
        ("matrix: {variables.x: [a]}", "3:10: matrix.variables.x: unknown variable"),
        ("matrix: {nodes.x: [1]}", "3:20: nodes: expected a whole number, got a mapping"),
        (
            "nodes: 2\nmatrix: {nodes.x: [1]}",
            "4:10: matrix.nodes.x: leads into what is no mapping",
        ),
        (
            "matrix: {trainer.bath_size: [1]}",
            "3:10: workload.trainer.overrides.trainer.bath_size: the bundled trainer has no",
        ),
        ("matrix: {nodes: [1, 2], exclude: 1}", "3:34: matrix.exclude: expected a list"),
        ("matrix: {nodes: [1], exclude: [{seed: 1}]}", "no such key; expected one of nodes"),
        (
            "matrix: {lr: [1]}",
            "an override is workload.trainer.overrides.lr, a searched parameter s",
        ),
        (
            "matrix: {nodes: [1, 2]}\nexpect: [{log: {contains: x, on: sweep-worker}}]",
            "there is no sweep-worker among 1 node (in grid[nodes=1])",
        ),
        ("matrix: {nodes: [1], exclude: [{nodes: 2}]}", "matrix.exclude: no cell has nodes: 2"),
        ("matrix: {nodes: [1], exclude: [{nodes: 1}]}", "matrix.exclude: no cell is left"),
        ("matrix: {nodes: [1, 2], exclude: [{nodes: true}]}", "no cell has nodes: true"),
    ],
)
def test_what_is_wrong_is_said_at_its_place(text: str, said: str) -> None:
    (found,) = problems(text)
    assert said in found


def test_a_wrong_value_is_told_at_its_line_once() -> None:
    text = """matrix:
  nodes:
    - 1
    - 400
  trainer.batch_size:
    - 256
    - many
deadline: soon
"""
    found = problems(text)
    assert [line.split(":")[1] for line in found] == ["6", "9", "10"]
    assert "nodes: expected 64 or less, got 400" in found[0]
    assert "trainer.batch_size: expected a whole number" in found[1]


def test_too_many_cells_are_counted() -> None:
    seeds = list(range(MOST_CELLS // 2 + 1))
    (said,) = problems(f"matrix: {{nodes: [1, 2], seed: {seeds}}}")
    assert f"{len(seeds) * 2} scenarios, expected at most {MOST_CELLS}" in said


def test_so_many_cells_are_let_through_and_not_one_more() -> None:
    assert len(cells(f"matrix: {{seed: {list(range(MOST_CELLS))}}}")) == MOST_CELLS
    assert problems(f"matrix: {{seed: {list(range(MOST_CELLS + 1))}}}")


def test_a_matrix_is_not_one_scenario() -> None:
    with pytest.raises(InputError, match="not a matrix of 2"):
        parse(f"{HEAD}matrix: {{nodes: [1, 2]}}", Path("grid.yaml"))


def test_a_cell_may_not_have_the_name_of_another_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"{HEAD}matrix: {{nodes: [1, 2]}}")
    (tmp_path / "b.yaml").write_text("version: 1\nname: grid-nodes-2\n")
    with pytest.raises(InputError, match=r"name: grid-nodes-2 is also that of .*a\.yaml"):
        load_files([tmp_path])
