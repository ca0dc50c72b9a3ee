from __future__ import annotations

import pytest

from metta_sandbox.report.results import (
    CheckResult,
    FaultResult,
    RunResult,
    ScenarioResult,
    TrialResult,
)
from metta_sandbox.verdict import Verdict, worst

HOSTILE = (
    "</script><script>document.title='taken'</script> <img src=x onerror=alert(1)> & \x1b[31m\x00"
)


def scenario_result(name: str, *checks: CheckResult, **fields: object) -> ScenarioResult:
    return ScenarioResult.model_validate(
        {
            "name": name,
            "file": f"scenarios/{name}.yaml",
            "verdict": worst(check.verdict for check in checks),
            "engine": "process",
            "nodes": 2,
            "seconds": 12.5,
            "trials": (TrialResult(run=f"{name}.r.1", status="completed", score=1.5, cost=512),),
            "checks": checks,
            **fields,
        }
    )


def check_result(name: str, verdict: Verdict, detail: str = "") -> CheckResult:
    return CheckResult(name=name, verdict=verdict, detail=detail)


@pytest.fixture
def mixed() -> RunResult:
    """One run with a scenario of each outcome, and text that nobody meant well."""
    passed = check_result("digests", Verdict.PASSED, "all equal")
    fault = FaultResult(name="kill", fired=True, proof="")
    scenarios = (
        scenario_result("good", passed),
        scenario_result(
            "bad",
            passed,
            CheckResult(
                name=f"log {HOSTILE}",
                verdict=Verdict.FAILED,
                detail=f"expected\n{HOSTILE}",
                expected=f"lacks {HOSTILE}",
                seen=f"seen {HOSTILE}",
                where=("logs/sweep-master.log:7",),
                asked_by="expect[1]",
                seconds=0.25,
            ),
        ),
        scenario_result(
            "unsure", check_result("W&B runs", Verdict.INCONCLUSIVE, "torn"), faults=(fault,)
        ),
        scenario_result("lost", passed, verdict=Verdict.FAILED, reason="sweep-worker is lost"),
        scenario_result("unable", verdict=Verdict.SKIPPED, reason="no netem here", trials=()),
    )
    return RunResult(
        run="20261122T183512-ab12",
        verdict=Verdict.FAILED,
        engine="process",
        seconds=61.25,
        scenarios=scenarios,
    )


@pytest.fixture
def unplayed() -> RunResult:
    """A run that could not start."""
    reason = "no Docker engine answers"
    return RunResult(run="r", verdict=Verdict.ERROR, reason=reason, engine="", seconds=0.5)
