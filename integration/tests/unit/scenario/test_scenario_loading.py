"""Reading scenario files: folders, unreadable files, what import costs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metta_sandbox.errors import InputError
from metta_sandbox.play.host_inputs import require_folders
from metta_sandbox.scenario.files import LARGEST_FILE, find
from metta_sandbox.scenario.loading import load, load_all, parse, parse_file
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.search import Choice, Range
from metta_sandbox.scenario.units import format_duration, format_shift, parse_duration, parse_shift

HERE = Path(__file__).parent
SHIPPED = HERE.parents[3] / "scenarios"
FILES = [*find([SHIPPED]), *sorted(HERE.glob("valid/*.yaml"))]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5000,
        "{a: " * 5000,
        "- " * 5000,
        "? " * 5000,
        "&a " * 5000,
        "*" * 5000,
        "seed: 0x" + "f" * 290,
    ],
)
def test_deep_files_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse(text, Path("deep.yaml"))


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "indent", ["", "workload: {trainer: {overrides: {", "sweep: {parameters: {"]
)
def test_wide_files_are_read_in_time(indent: str) -> None:
    keys = ",\n".join(f"trainer.k{number}: 1" for number in range(2900))
    close = "}" * indent.count("{")
    with pytest.raises(InputError) as caught:
        parse(f"{{{indent}{keys}{close}}}", Path("wide.yaml"))
    assert len(caught.value.problems) >= 2900


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    path.write_text("#" * (LARGEST_FILE + 1))
    with pytest.raises(InputError, match="larger than 256 KiB"):
        load(path)


def test_a_byte_order_mark_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbfversion: 1\r\nname: x\r\n")
    assert load(path).name == "x"


def test_what_cannot_be_opened_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        load(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="a folder, not a file"):
        load(tmp_path)


def test_what_would_keep_its_reader_waiting_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match=r"pipe\.yaml: a named pipe, not a file"):
        load_all([pipe])
    with pytest.raises(InputError, match="a named pipe, not a file"):
        load_all([tmp_path])
    for named, kind in ((pipe, "a named pipe"), ("/dev/zero", "a device")):
        with pytest.raises(InputError, match=f"own.yaml:2:10: extends: .*: {kind}, not a file"):
            parse(f"name: own\nextends: {named}\n", tmp_path / "own.yaml")
    requirements = f"version: 1\nname: own\nworkload: {{run: x, requirements: {tmp_path}/r.txt}}"
    (tmp_path / "r.txt").write_text("-r pipe.yaml\n")
    with pytest.raises(InputError, match=r"r\.txt:1:1: includes a file that can't be read"):
        require_folders(parse_file(requirements, tmp_path / "own.yaml").loaded)


def test_folders_are_searched_and_sorted(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", "deeper/c.yaml", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    names = ["a.yml", "b.yaml", "deeper/c.yaml"]
    assert find([tmp_path]) == [tmp_path / name for name in names]
    assert find([tmp_path / "b.yaml", tmp_path]) == [
        tmp_path / name for name in ("b.yaml", *names[::2])
    ]


def test_far_too_large_folders_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metta_sandbox.scenario.files._MOST_ENTRIES", 3)
    for name in (".git/x", "_x/y", "a.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert find([tmp_path]) == [tmp_path / "a.yaml"]
    (tmp_path / "b.txt").write_text("x")
    with pytest.raises(InputError, match="more than 3 files and folders"):
        find([tmp_path])


def test_every_wrong_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError) as caught:
        find([tmp_path / "none", tmp_path / "empty", tmp_path / "notes.txt"])
    for fragment in (
        "none: no such file",
        "empty: no scenario files",
        "notes.txt: expected a name",
    ):
        assert fragment in str(caught.value)


def test_all_files_problems_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("version: 1\nname: same\n")
    (tmp_path / "b.yaml").write_text("version: 1\nname: same\n")
    (tmp_path / "c.yaml").write_text("version: 2\nname: c\n")
    with pytest.raises(InputError) as caught:
        load_all([tmp_path])
    said = [str(problem) for problem in caught.value.problems]
    assert len(said) == 2
    assert any("c.yaml:1:10: version: expected 1, got 2" in text for text in said)
    assert any("b.yaml:2:7: name: same is also that of" in text for text in said)
    assert any(text.endswith("a.yaml:2") for text in said)
    (tmp_path / "c.yaml").unlink()
    (tmp_path / "b.yaml").write_text("version: 1\nname: other\n")
    assert [one.scenario.name for one in load_all([tmp_path])] == ["same", "other"]


def test_the_values_of_a_scenario() -> None:
    scenario = load(HERE / "valid" / "everything.yaml")
    assert (scenario.deadline, scenario.longest_silence) == (5400.0, 0.5)
    assert scenario.hosts == ("sweep-master", "sweep-worker", "sweep-worker-2")
    assert scenario.overrides == {
        "trainer.total_timesteps": 2000,
        "trainer.ppo.ent_coef": 1e-3,
        "trainer.curriculum": "arena/random",
    }
    space = scenario.search_space
    assert list(space)[:2] == ["trainer.optimizer.learning_rate", "trainer.ppo.gamma"]
    rate = space["trainer.optimizer.learning_rate"]
    assert isinstance(rate, Range)
    assert (rate.distribution, rate.min, rate.max, rate.mean) == ("log_normal", 1e-5, 1e-2, 1e-3)
    assert rate.scale == "time"
    assert space["trainer.curriculum"] == Choice(values=("arena/random", "arena/maze"))
    assert any("agent_steps would" in caution for caution in scenario.cautions)


def test_defaults() -> None:
    scenario = load(HERE / "valid" / "least.yaml")
    assert scenario.sweep.name == "least"
    assert (scenario.nodes, scenario.seed, scenario.deadline) == (2, 42, 600.0)
    assert (scenario.sweep.strategy, scenario.sweep.metric) == ("protein", "reward")
    assert any("nothing is expected" in caution for caution in scenario.cautions)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_scenario_travels_as_json(path: Path) -> None:
    for scenario in parse_file(path.read_text(), path).scenarios:
        assert Scenario.model_validate_json(scenario.model_dump_json()) == scenario


@given(st.floats(min_value=1e-9, max_value=1e9))
def test_durations_are_read_back(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (90, 90),
        ("90", 90),
        ("90s", 90),
        ("10m", 600),
        ("1h30m", 5400),
        ("500ms", 0.5),
        ("1.5h", 5400),
    ],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "10 m", "1m1h", "-1", "1e3", True, None, [], "9" * 400])
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)


@given(st.floats(min_value=-1e9, max_value=1e9))
def test_shifts_are_read_back(seconds: float) -> None:
    assert parse_shift(format_shift(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"), [("-1h", -3600), (-90, -90), ("-0.5", -0.5), ("2m", 120)]
)
def test_shifts(text: object, seconds: float) -> None:
    assert parse_shift(text) == seconds


@pytest.mark.parametrize("text", ["", "-", "--1", "1h-1m", True, None, [], float("nan")])
def test_what_is_no_shift(text: object) -> None:
    with pytest.raises(ValueError, match="expected a duration, also with a minus"):
        parse_shift(text)


def test_counts_hold() -> None:
    expectation = load(FILES[0]).expect[0]
    assert expectation.model_dump()  # the kinds are models, whatever they say
    exact = parse("version: 1\nname: x\nexpect: [{trials: {failed: 2}}]", Path("x")).expect[0]
    bounds = exact.trials.failed  # type: ignore[attr-defined]
    assert bounds is not None
    assert [bounds.hold(number) for number in (1, 2, 3)] == [False, True, False]
    assert str(bounds) == "exactly 2"
    text = "version: 1\nname: x\nexpect: [{trials: {failed: {at_least: 1, at_most: 2}}}]"
    bounds = parse(text, Path("x")).expect[0].trials.failed  # type: ignore[attr-defined]
    assert bounds is not None
    assert [bounds.hold(number) for number in (0, 1, 2, 3)] == [False, True, True, False]
    assert str(bounds) == "at least 1 and at most 2"


def test_loading_imports_nothing_heavy() -> None:
    code = (
        "import sys; import metta_sandbox.scenario.loading, metta_sandbox.sweep.chance,"
        " metta_sandbox.sweep.grid, metta_sandbox.sweep;"
        "print(sorted({'torch', 'wandb', 'numpy', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("nodes", "deadline", "silence"), [(1, 600, 60), (2, 600, 60), (8, 960, 120), (64, 4320, 680)]
)
def test_limits_grow_with_the_nodes(nodes: int, deadline: float, silence: float) -> None:
    text = f"version: 1\nname: many\nnodes: {nodes}\n"
    scenario = parse(text, Path("many.yaml"))
    assert (scenario.deadline, scenario.longest_silence) == (deadline, silence)
    assert parse(f"{text}deadline: 90\n", Path("many.yaml")).deadline == 90


#: What lies beside scenarios in people's repositories.
OTHERS = {
    "conf/config.yaml": "defaults: [_self_, {model: small}]\nseed: 1\nhydra: {run: {dir: out}}\n",
    "conf/model/small.yaml": "# @package _global_\nmodel: {layers: 2}\nname: small\n",
    "conf/experiment.yaml": "name: exp\nsweep: {lr: [1, 2]}\nnodes: 2\n",
    "compose.yaml": "version: '3'\nservices: {db: {image: postgres}}\n",
    "list.yaml": "- one\n- two\n",
    "empty.yml": "# nothing yet\n",
    "template.yaml": "lr: {{ lr }}\n  wrong: {\n",
}


def write_others(folder: Path) -> list[Path]:
    for name, text in OTHERS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return sorted(folder / name for name in OTHERS)


def test_what_is_no_scenario_in_a_folder_is_left_out_and_told(tmp_path: Path) -> None:
    others = write_others(tmp_path)
    (tmp_path / "a.yaml").write_text("version: 1\nname: a\n")
    told: list[str] = []

    assert [one.scenario.name for one in load_all([tmp_path], tell=told.append)] == ["a"]

    assert [line.partition(": not a scenario")[0] for line in told] == [str(one) for one in others]
    for other in others:
        with pytest.raises(InputError):
            load_all([tmp_path / "a.yaml", other])
        with pytest.raises(InputError):
            load_all([other, tmp_path])


def test_a_folder_without_any_scenario_is_refused(tmp_path: Path) -> None:
    write_others(tmp_path)
    with pytest.raises(InputError, match=f"no scenario among {len(OTHERS)} YAML files"):
        load_all([tmp_path])


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\nnmae: a\nsweep: {}\n",
        "version: 2\nname: a\n",
        "version: 1\nname: a\nworklod: {}\n",
        "extends: none.yaml\n",
        "version: 1\nname: a\nsweep: {\n",
        '{"version": 1, "name": "a", "nodse": 1}',
    ],
)
def test_a_scenario_with_a_mistake_is_still_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    (tmp_path / "b.yaml").write_text("version: 1\nname: b\n")
    with pytest.raises(InputError, match="problem"):
        load_all([tmp_path])
