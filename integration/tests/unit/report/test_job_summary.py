from __future__ import annotations

from pathlib import Path

from metta_sandbox.report import summary
from metta_sandbox.report.results import RunResult, TrialResult
from metta_sandbox.verdict import Verdict

FOLDER = Path("artifacts/20261122T183512-ab12")


def test_what_failed_stands_first_and_where_the_artifacts_are_last(mixed: RunResult) -> None:
    lines = summary.render(mixed, FOLDER).splitlines()
    assert lines[0] == "## ❌ 3 of 5 scenarios did not pass: bad, unsure, lost."
    assert lines[2].startswith("### ❌ bad: log ")
    assert str(FOLDER) in lines[-1]
    assert "- **lost**: sweep-worker is lost" in lines


def test_every_scenario_has_a_row(mixed: RunResult) -> None:
    text = summary.render(mixed, FOLDER)
    assert "| good | ✅ passed | 2 | 1 of 1 | 12.5 s |" in text
    assert "| unable | ⏭️ skipped | 2 | 0 of 0 | 12.5 s |" in text
    assert "| bad.r.1 | completed | 1.5 | 512 | - |" in text


def test_a_name_cannot_break_out_of_its_cell_or_heading(mixed: RunResult) -> None:
    bad = mixed.scenarios[1].model_copy(update={"name": "a|b <b>\n# c"})
    text = summary.render(mixed.model_copy(update={"scenarios": (bad,)}), FOLDER)
    assert "| a\\|b \\<b\\> \\# c |" in text
    outside = text.split("```")[::2]
    assert not any("<script" in part.replace("\\<", "") for part in outside)


def test_a_detail_cannot_close_its_fence(mixed: RunResult) -> None:
    check = (
        mixed.scenarios[1]
        .checks[1]
        .model_copy(update={"detail": "a\n````\n# b", "expected": "", "where": ()})
    )
    bad = mixed.scenarios[1].model_copy(update={"checks": (check,)})
    text = summary.render(mixed.model_copy(update={"scenarios": (bad,)}), FOLDER)
    assert "`````text\na\n````\n# b\n`````\n" in text


def test_a_long_run_stays_within_what_github_takes(mixed: RunResult) -> None:
    check = mixed.scenarios[1].checks[1].model_copy(update={"detail": "x" * 100_000})
    trials = (TrialResult(run="r", status="completed"),) * 5_000
    bad = mixed.scenarios[1].model_copy(update={"checks": (check,) * 100, "trials": trials})
    text = summary.render(mixed.model_copy(update={"scenarios": (bad,)}), FOLDER)
    assert len(text.encode()) < 1024 * 1024
    assert "… and 80 more checks that did not hold." in text
    assert "all are in `results.json`" in text


def test_a_run_that_could_not_start_says_why(unplayed: RunResult) -> None:
    assert summary.render(unplayed, FOLDER).startswith("## 💥 No Docker engine answers.\n")


def test_a_run_that_passed_says_so(mixed: RunResult) -> None:
    good = mixed.model_copy(
        update={"scenarios": mixed.scenarios[:1], "verdict": Verdict.PASSED, "seconds": 61}
    )
    text = summary.render(good, FOLDER)
    assert text.startswith("## ✅ 1 scenario passed, 1 check held.\n\n| scenario")
    assert "on process, 1 min 1 s" in text
