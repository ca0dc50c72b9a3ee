from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from metta_sandbox.report.console import Reporter
from metta_sandbox.report.results import (
    CheckResult,
    FaultResult,
    RunResult,
    ScenarioResult,
    TrialResult,
)
from metta_sandbox.verdict import Verdict

PASSED = ScenarioResult(
    name="basic",
    file="basic.yaml",
    verdict=Verdict.PASSED,
    engine="process",
    nodes=2,
    seconds=3.25,
    trials=(TrialResult(run="basic.r.1", status="completed", score=1.5, cost=512, seconds=2),),
    checks=(CheckResult(name="digests", verdict=Verdict.PASSED, detail="all equal"),),
)
FAILED = PASSED.model_copy(
    update={
        "name": "bad",
        "verdict": Verdict.FAILED,
        "reason": "hand-off: sweep-worker got nothing",
        "trials": (TrialResult(run="", status="failed"),),
        "faults": (FaultResult(name="kill", fired=True, proof=""),),
        "checks": (
            *PASSED.checks,
            CheckResult(name="log", verdict=Verdict.FAILED, detail="expected [a-z]\nsaw none"),
        ),
    }
)


def run_of(*scenarios: ScenarioResult) -> RunResult:
    return RunResult(
        run="r", verdict=Verdict.FAILED, engine="process", seconds=9, scenarios=scenarios
    )


def shown(*, quiet: bool = False, **console: object) -> str:
    out = io.StringIO()
    reporter = Reporter(quiet=quiet, console=Console(file=out, width=100, **console))  # type: ignore[arg-type]
    reporter.step("bringing the stack up")
    for scenario in (PASSED, FAILED):
        reporter.scenario(scenario)
    reporter.finish(run_of(PASSED, FAILED), Path("artifacts/20261122T183512-ab12"))
    return out.getvalue()


def test_trials_and_what_did_not_pass_are_shown_with_one_verdict_line_at_the_end() -> None:
    text = shown()
    lines = text.splitlines()

    assert "bringing the stack up" in lines[0]
    assert "PASSED basic  2 nodes on process, 3.2 s" in text
    assert [line.split() for line in lines if "basic.r.1" in line] == [
        ["basic.r.1", "completed", "1.5", "512", "2.0"]
    ]
    assert "hand-off: sweep-worker got nothing" in text
    assert "fault kill: no proof that it happened" in text
    assert "failed log\n      expected [a-z]\n      saw none" in text
    assert "all equal" not in text
    assert lines[-1] == (
        "FAILED  1 passed, 1 failed in 9.0 s · artifacts in artifacts/20261122T183512-ab12"
    )


def test_quiet_shows_only_what_did_not_pass_and_the_verdict() -> None:
    text = shown(quiet=True)

    assert "bringing" not in text
    assert "basic" not in text
    assert "failed log" in text
    assert text.splitlines()[-1].startswith("FAILED")


def test_colours_are_for_terminals_without_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[1;31m" in shown(force_terminal=True)
    assert "\x1b" not in shown()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "31m" not in shown(force_terminal=True)


def test_without_a_terminal_lines_are_not_folded(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("/" + "long" * 60)

    reporter = Reporter()
    reporter.warn("no Docker engine: falling back to local processes")
    reporter.finish(run_of(PASSED), folder)

    warning, verdict = capsys.readouterr().out.splitlines()
    assert warning == "! no Docker engine: falling back to local processes"
    assert verdict.endswith(str(folder))


def test_a_run_that_could_not_start_has_a_verdict_too() -> None:
    out = io.StringIO()

    Reporter(console=Console(file=out, width=100)).finish(run_of(), None)

    assert out.getvalue() == "FAILED  nothing was played in 9.0 s\n"
