"""``extends``: what is merged, what is replaced, and whose line a problem is on."""

from pathlib import Path

import pytest

from metta_sandbox.errors import InputError
from metta_sandbox.scenario.loading import load, load_all
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.search import Choice, Range

BASE = """version: 1
name: base
tags: [a, b]
deadline: 20m
sweep:
  trials: 5
  parameters:
    trainer:
      optimizer.learning_rate: {distribution: log_normal, min: 1e-4, max: 1e-2}
      ppo.gamma: {values: [0.9, 0.95]}
workload:
  trainer:
    overrides: {trainer: {batch_size: 512, minibatch_size: 256}, trainer.update_epochs: 2}
expect:
  - trials: {completed: 5}
"""


def extend(folder: Path, own: str, base: str = BASE) -> Scenario:
    (folder / "base.yaml").write_text(base)
    path = folder / "own.yaml"
    path.write_text(f"extends: base.yaml\nname: own\n{own}")
    return load(path)


def problems(folder: Path, own: str, base: str = BASE) -> list[str]:
    with pytest.raises(InputError) as caught:
        extend(folder, own, base)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def test_what_is_not_said_is_the_bases(tmp_path: Path) -> None:
    own = extend(tmp_path, "sweep: {strategy: random}\ntags: [c]\n")
    assert (own.name, own.sweep.name, own.tags) == ("own", "own", ("c",))
    assert (own.deadline, own.sweep.trials, own.sweep.strategy) == (1200, 5, "random")
    assert len(own.expect) == 1


def test_overrides_are_one_key_however_they_are_nested(tmp_path: Path) -> None:
    for overrides in (
        "{trainer.batch_size: 64, trainer: {update_epochs: 3}}",
        "[trainer.batch_size=64, ++trainer.update_epochs=3]",
    ):
        own = extend(tmp_path, f"workload: {{trainer: {{overrides: {overrides}}}}}")
        assert own.overrides == {
            "trainer.batch_size": 64,
            "trainer.minibatch_size": 256,
            "trainer.update_epochs": 3,
        }


def test_a_parameters_bounds_are_merged_and_its_kind_is_not(tmp_path: Path) -> None:
    own = extend(
        tmp_path,
        "sweep: {parameters: {trainer.optimizer: {learning_rate: {max: 1e-3}},"
        " trainer.ppo.gamma: {distribution: uniform, min: 0.5, max: 0.9}}}",
    )
    rate, gamma = own.search_space.values()
    assert isinstance(rate, Range)
    assert (rate.min, rate.max) == (1e-4, 1e-3)
    assert gamma == Range(distribution="uniform", min=0.5, max=0.9)


def test_nothing_takes_away_what_the_base_says(tmp_path: Path) -> None:
    own = extend(
        tmp_path, "deadline: null\nsweep: {parameters: {trainer.optimizer.learning_rate: null}}"
    )
    assert own.deadline == 600
    assert own.search_space == {"trainer.ppo.gamma": Choice(values=(0.9, 0.95))}
    own = extend(tmp_path, "workload: {trainer: {overrides: {trainer.minibatch_size: null}}}")
    assert "trainer.minibatch_size" not in own.workload.trainer.overrides


def test_a_problem_is_on_the_line_of_the_file_that_says_it(tmp_path: Path) -> None:
    found = problems(tmp_path, "nodes: 0\n", BASE.replace("20m", "soon").replace("tags", "tag"))
    assert found[0].startswith("own.yaml:3:8: nodes: expected 1 or more, got 0")
    assert found[1].startswith("base.yaml:3:1: tag: unknown key; did you mean tags?")
    assert found[2].startswith("base.yaml:4:11: deadline: expected a duration")
    assert len(found) == 3


def test_a_name_is_not_inherited(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "own.yaml").write_text("extends: base.yaml\n")
    with pytest.raises(InputError, match=r"own\.yaml:1:1: name: missing"):
        load(tmp_path / "own.yaml")


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("extends: own.yaml", "base.yaml:1:10: extends: a file can't extend itself: own.yaml ->"),
        ("extends: base.yaml", "base.yaml:1:10: extends: a file can't extend itself"),
        ("extends: absent.yaml", "base.yaml:1:10: extends: absent.yaml: No such file"),
        ("extends: [a]", "base.yaml:1:10: extends: expected the path of a scenario file"),
        ("extends: ..", "base.yaml:1:10: extends: "),
        ('extends: "\\0"', "base.yaml:1:10: extends: "),
        ("- 1", "base.yaml:1:1: expected a mapping"),
        ("", "base.yaml:1:1: expected a mapping"),
        ("a: [", "base.yaml:2:1: not YAML"),
        ("version: 1\nversion: 1", "base.yaml:2:1: version is given twice"),
    ],
)
def test_a_base_that_is_none_is_told(tmp_path: Path, base: str, said: str) -> None:
    found = problems(tmp_path, "version: 1", base)
    assert any(line.startswith(said) for line in found), found


def test_a_long_row_of_files_is_refused(tmp_path: Path) -> None:
    for number in range(9):
        text = f"version: 1\nname: n{number}\nextends: n{number + 1}.yaml\n"
        (tmp_path / f"n{number}.yaml").write_text(text)
    with pytest.raises(InputError, match=r"n7\.yaml:3:10: extends: more than 8 files"):
        load(tmp_path / "n0.yaml")


def test_paths_are_from_the_file_that_names_them(tmp_path: Path) -> None:
    for name, text in {
        "top.yaml": "extends: below/middle.yaml\nname: top\n",
        "below/middle.yaml": "extends: _deeper/last.yaml\nname: middle\nnodes: 3\n",
        "below/_deeper/last.yaml": "version: 1\nname: last\nseed: 7\nnodes: 4\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    top = load(tmp_path / "top.yaml")
    assert (top.nodes, top.seed) == (3, 7)
    # What begins with an underscore is there to be extended, not to be played.
    assert [one.scenario.name for one in load_all([tmp_path])] == ["middle", "top"]


def test_a_working_folder_stays_where_the_base_says(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    text = "version: 1\nname: base\nworkload: {folder: mine}\n"
    (tmp_path / "below" / "base.yaml").write_text(text)
    (tmp_path / "own.yaml").write_text("extends: below/base.yaml\nname: own\n")
    assert load(tmp_path / "own.yaml").workload.folder == "below/mine"
    (tmp_path / "own.yaml").write_text(
        "extends: below/base.yaml\nname: own\nworkload: {folder: my}"
    )
    assert load(tmp_path / "own.yaml").workload.folder == "my"


def test_all_paths_stay_where_the_base_says(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    text = (
        "version: 1\nname: base\nsweep: {resume: ../a}\nworkload:\n  trainer: {command: x}\n"
        "  mounts: [{source: data, target: /a}, {source: ~/x, target: /b}]\n"
    )
    base, own = tmp_path / "below" / "base.yaml", tmp_path / "own.yaml"
    own.write_text("extends: below/base.yaml\nname: own\n")

    base.write_text(f"{text}  requirements: r.txt\n")
    said = load(own)
    assert said.workload.requirements == "below/r.txt"
    assert [mount.source for mount in said.workload.mounts] == ["below/data", "~/x"]
    assert said.sweep.resume == "a"
    base.write_text(f"{text.replace('../a', 'latest')}  build: {{context: ../c}}\n")
    said = load(own)
    assert said.workload.build
    assert (said.workload.build.context, said.sweep.resume) == ("c", "latest")
    base.write_text(f"{text}  build: image\n")
    assert str(load(own).workload.build).startswith("context='below/image'")
    base.write_text(f"{text}  requirements: [einops]\n")
    assert load(own).workload.requirements == ("einops",)


def test_a_file_that_cannot_be_read_is_the_only_fault_of_what_it_would_have_said(
    tmp_path: Path,
) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("extends: gone.yaml\nname: own\nnodes: 0\ntags: ['${word}']\n")
    with pytest.raises(InputError) as caught:
        load(own)
    told = [(problem.line, problem.message.partition(":")[0]) for problem in caught.value.problems]
    assert told == [(1, "extends"), (3, "nodes")]


def test_a_matrix_is_inherited_and_merged(tmp_path: Path) -> None:
    base = f"{BASE}matrix: {{nodes: [1, 2], seed: [1]}}\n"
    assert extend(tmp_path, "matrix: {nodes: [4]}", base).id == "own[nodes=4,seed=1]"
    assert extend(tmp_path, "matrix: null", base).id == "own"


def test_what_may_hold_keys_is_not_extended(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"extends: {Path.home() / '.netrc'}\nversion: 1\nname: a\n")
    with pytest.raises(InputError) as caught:
        load(file)
    assert "may hold keys, and is no scenario to extend" in str(caught.value.problems[0])
