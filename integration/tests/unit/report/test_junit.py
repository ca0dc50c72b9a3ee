from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import xmlschema

from metta_sandbox.report import junit
from metta_sandbox.report.results import CheckResult, RunResult, ScenarioResult
from metta_sandbox.verdict import Verdict

SCHEMA = xmlschema.XMLSchema(Path(__file__).with_name("junit.xsd"))


@pytest.mark.parametrize("run", ["mixed", "unplayed"])
def test_what_is_written_is_what_ci_systems_read(run: str, request: pytest.FixtureRequest) -> None:
    SCHEMA.validate(junit.render(request.getfixturevalue(run)).decode())


def test_each_scenario_is_a_suite_and_each_check_a_case(mixed: RunResult) -> None:
    root = ET.fromstring(junit.render(mixed))
    assert [suite.get("name") for suite in root] == ["good", "bad", "unsure", "lost", "unable"]
    outcomes = {
        suite.get("name"): [
            case[0].tag if len(case) else "passed" for case in suite.iter("testcase")
        ]
        for suite in root
    }
    assert outcomes == {
        "good": ["passed"],
        "bad": ["passed", "failure"],
        "unsure": ["error"],
        "lost": ["passed", "failure"],
        "unable": ["skipped"],
    }
    assert {key: root.get(key) for key in ("tests", "failures", "errors", "skipped", "time")} == {
        "tests": "7",
        "failures": "2",
        "errors": "1",
        "skipped": "1",
        "time": "61.250",
    }


def test_what_no_check_says_has_a_case_of_its_own(mixed: RunResult) -> None:
    root = ET.fromstring(junit.render(mixed))
    (lost,) = (case for case in root.iter("failure") if "lost" in (case.get("message") or ""))
    assert lost.text == "sweep-worker is lost"


def test_a_case_says_what_was_expected_what_was_seen_where_and_how_long_it_took(
    mixed: RunResult,
) -> None:
    (case,) = (case for case in ET.fromstring(junit.render(mixed))[1].iter("testcase") if len(case))
    assert case.get("time") == "0.250"
    lines = (case[0].text or "").splitlines()
    assert lines[0].startswith("expected: lacks ")
    assert lines[-1] == "where: logs/sweep-master.log:7"


def test_suites_tell_what_was_played_and_when(mixed: RunResult) -> None:
    suite = ET.fromstring(junit.render(mixed))[2]
    assert suite.get("timestamp") == "2026-11-22T18:35:12"
    told = {each.get("name"): each.get("value") for each in suite.iter("property")}
    assert told["file"] == "scenarios/unsure.yaml"
    assert told["verdict"] == "inconclusive"
    assert told["fault.kill"] == "unproven"


def test_text_that_xml_cannot_carry_is_escaped_and_the_rest_kept(mixed: RunResult) -> None:
    (failure,) = (
        case
        for case in ET.fromstring(junit.render(mixed)).iter("failure")
        if "\n" in str(case.text)
    )
    assert "</script><script>" in str(failure.text)
    assert r"\x1b[31m\x00" in str(failure.text)


def test_a_run_that_could_not_start_is_an_error(unplayed: RunResult) -> None:
    root = ET.fromstring(junit.render(unplayed))
    (error,) = root.iter("error")
    assert error.get("message") == "no Docker engine answers"
    assert root[0].get("timestamp") is None


def test_a_suite_counts_each_outcome_by_itself() -> None:
    verdicts = [Verdict.SKIPPED] * 3 + [Verdict.FAILED] * 2 + [Verdict.ERROR, Verdict.PASSED]
    checks = tuple(
        CheckResult(name=f"c{number}", verdict=verdict, detail="d")
        for number, verdict in enumerate(verdicts)
    )
    scenario = ScenarioResult(
        name="s", file="s.yaml", verdict=Verdict.FAILED, reason="", engine="process",
        nodes=2, seconds=1.0, checks=checks,
    )  # fmt: skip
    run = RunResult(
        run="r", verdict=Verdict.FAILED, engine="process", seconds=1.0, scenarios=(scenario,)
    )
    (suite,) = ET.fromstring(junit.render(run))
    counts = {key: suite.get(key) for key in ("tests", "skipped", "failures", "errors")}
    assert counts == {"tests": "7", "skipped": "3", "failures": "2", "errors": "1"}
