"""The folders of valid and of invalid examples, and the scenarios people read first."""

from pathlib import Path

import pytest

from metta_sandbox.errors import InputError
from metta_sandbox.scenario.files import read_text
from metta_sandbox.scenario.loading import load, parse, parse_file, to_yaml

HERE = Path(__file__).parent
SHIPPED = sorted((HERE.parents[3] / "scenarios").glob("*.yaml"))
VALID = sorted((HERE / "valid").glob("*.yaml"))
INVALID = sorted((HERE / "invalid").glob("*.yaml"))


def name(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", [*SHIPPED, *VALID], ids=name)
def test_a_valid_file_is_read_and_written_back_in_full(path: Path) -> None:
    for scenario in parse_file(read_text(path), path).scenarios:
        written = to_yaml(scenario)
        assert parse(written, path) == scenario
        assert to_yaml(parse(written, path)) == written
        for key in ("deadline:", "strategy:", "max_failures_in_a_row:", "overrides:"):
            assert key in written


@pytest.mark.parametrize("path", INVALID, ids=name)
def test_an_invalid_file_is_refused_with_each_fault_at_its_line(path: Path) -> None:
    head = path.read_bytes().splitlines()[0].decode().removeprefix("# ")
    expected = [part.partition(": ") for part in head.split(" | ")]
    with pytest.raises(InputError) as caught:
        load(path)
    problems = caught.value.problems
    for line, _, fragment in expected:
        said = [problem.message for problem in problems if problem.line == int(line)]
        assert any(fragment in message for message in said), (line, fragment, said)
    # Nothing is made up: every problem is on a line that the example names.
    assert {problem.line for problem in problems} == {int(line) for line, _, _ in expected}
    assert all(problem.file == path and problem.column > 0 for problem in problems)


def test_the_examples_are_there() -> None:
    assert [path.stem for path in SHIPPED] == ["advanced", "basic", "intermediate"]
    assert len(VALID) >= 4
    assert len(INVALID) >= 25


def test_what_ends_a_line_in_yaml_is_written_as_it_is_read(tmp_path: Path) -> None:
    text = 'version: 1\nname: a\nworkload: {run: ls, env: {A: "x\\x85\\u2028\\u2029y\\r\\tz"}}\n'
    scenario = parse(text, tmp_path / "a.yaml")
    assert scenario.workload.env["A"] == "x\x85\u2028\u2029y\r\tz"
    assert parse(to_yaml(scenario), tmp_path / "a.yaml") == scenario
