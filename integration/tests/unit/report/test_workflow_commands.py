from __future__ import annotations

from pathlib import Path

import pytest

from metta_sandbox.report.results import RunResult, ScenarioResult
from metta_sandbox.report.workflow_commands import annotate
from metta_sandbox.verdict import Verdict

FILE = """\
version: 1
name: bad
expect:
  - trials: {completed: 1}

  - log:
      contains: 'x'
"""


@pytest.fixture
def bad(mixed: RunResult, tmp_path: Path) -> ScenarioResult:
    file = tmp_path / "scenarios" / "bad, or so.yaml"
    file.parent.mkdir()
    file.write_text(FILE)
    return mixed.scenarios[1].model_copy(update={"file": str(file)})


def of(run: RunResult, *scenarios: ScenarioResult) -> RunResult:
    return run.model_copy(update={"scenarios": scenarios})


def test_a_check_is_shown_at_the_line_of_its_expectation(
    mixed: RunResult, bad: ScenarioResult, tmp_path: Path
) -> None:
    (command,) = annotate(of(mixed, bad), tmp_path)
    assert command.startswith("::error file=scenarios/bad%2C or so.yaml,line=6,title=bad%3A log ")


def test_a_standing_check_is_shown_at_the_first_line(
    mixed: RunResult, bad: ScenarioResult, tmp_path: Path
) -> None:
    passed, failed = bad.checks
    standing = failed.model_copy(update={"asked_by": ""})
    shifted = bad.model_copy(update={"checks": (passed, standing)})
    (command,) = annotate(of(mixed, shifted), tmp_path)
    assert ",line=1," in command


def test_text_cannot_end_the_command_or_begin_another(
    mixed: RunResult, bad: ScenarioResult, tmp_path: Path
) -> None:
    check = bad.checks[1].model_copy(
        update={
            "name": "a:b,c::d\r\n::e%0A",
            "detail": "1%\r\n::stop-commands::x",
            "expected": "",
            "where": (),
        }
    )
    (command,) = annotate(of(mixed, bad.model_copy(update={"checks": (check,)})), tmp_path)
    title, _, message = command.partition("title=")[2].partition("::")
    assert title == r"bad%3A a%3Ab%2Cc%3A%3Ad\r%0A%3A%3Ae%250A (failed)"
    assert message == r"1%25\r%0A::stop-commands::x"


def test_what_no_check_says_is_told_with_its_reason(mixed: RunResult, tmp_path: Path) -> None:
    # Its file is not there (any more): no place is better than a wrong one.
    (command,) = annotate(of(mixed, mixed.scenarios[3]), tmp_path)
    assert command == "::error title=lost%3A failed::sweep-worker is lost"


def test_passed_and_skipped_scenarios_are_no_errors(mixed: RunResult, tmp_path: Path) -> None:
    passed = mixed.model_copy(update={"verdict": Verdict.PASSED})
    assert annotate(of(passed, mixed.scenarios[0], mixed.scenarios[4]), tmp_path) == []


def test_a_run_that_could_not_start_is_an_error(unplayed: RunResult, tmp_path: Path) -> None:
    assert annotate(unplayed, tmp_path) == ["::error title=run error::no Docker engine answers"]


def test_no_more_are_written_than_are_shown(
    mixed: RunResult, bad: ScenarioResult, tmp_path: Path
) -> None:
    many = bad.model_copy(update={"checks": bad.checks * 50})
    assert len(annotate(of(mixed, many), tmp_path)) == 10
