"""``summary.md``: a run for GitHub's job summary, what failed first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from metta_sandbox.report.results import CheckResult, RunResult, ScenarioResult, TrialResult
from metta_sandbox.report.wording import explain, figure, headline, seconds, without
from metta_sandbox.safe_text import for_markdown, for_markdown_block, for_markdown_code
from metta_sandbox.verdict import Verdict
from metta_sandbox.words import many

FILE_NAME = "summary.md"
_SIGNS = {
    Verdict.PASSED: "✅",
    Verdict.FAILED: "❌",
    Verdict.INCONCLUSIVE: "❔",
    Verdict.SKIPPED: "⏭️",
    Verdict.ERROR: "💥",
}
#: GitHub takes a mebibyte of summary from a step, and shows none of a longer one.
_MOST_CHECKS = 20
_MOST_TRIALS = 200
_LONGEST_DETAIL = 3_000


def render(run: RunResult, folder: Path) -> str:
    """Write a run's summary.

    Args:
        run: What it came to.
        folder: Where its artifacts are.

    """
    return "\n".join(_lines(run, folder)) + "\n"


def _lines(run: RunResult, folder: Path) -> Iterator[str]:
    yield f"## {_SIGNS[run.verdict]} {for_markdown(headline(run))}"
    yield ""
    yield from _failures(run)
    for scenario in run.scenarios:
        for warning in (check.warning for check in scenario.checks if check.warning):
            yield f"- ⚠️ **{for_markdown(scenario.name)}**: {for_markdown(warning)}"
            yield ""
    for scenario in run.scenarios:
        if missing := without(scenario.left_out):
            told = for_markdown(f"left out of the artifacts: {missing}")
            yield f"- **{for_markdown(scenario.name)}**: {told}"
            yield ""
    if run.scenarios:
        yield "| scenario | verdict | nodes | trials | time |"
        yield "| --- | --- | ---: | ---: | ---: |"
        yield from map(_row, run.scenarios)
        yield ""
    yield from _trials(run)
    took = f"Run `{run.run}` on {run.engine}" if run.engine else f"Run `{run.run}`"
    where = for_markdown_code(str(folder))
    yield f"{took}, {seconds(run.seconds)}. Artifacts: {where}; open `report.html`."


def _failures(run: RunResult) -> Iterator[str]:
    bad = [
        (scenario, check)
        for scenario in run.scenarios
        for check in scenario.checks
        if not check.verdict.is_well
    ]
    for scenario in run.scenarios:
        if not scenario.verdict.is_well:
            for cause in scenario.causes:
                told = for_markdown(f"{cause.kind}: {cause.told}")
                yield f"> **{for_markdown(scenario.name)}**, {told}"
                yield ""
    for scenario, check in bad[:_MOST_CHECKS]:
        title = for_markdown(f"{scenario.name}: {check.name}")
        yield f"### {_SIGNS[check.verdict]} {title}"
        yield ""
        yield from _fenced(check)
    if len(bad) > _MOST_CHECKS:
        yield f"… and {many(len(bad) - _MOST_CHECKS, 'more check')} that did not hold."
        yield ""
    for scenario in run.scenarios:
        if not scenario.verdict.is_well and scenario.reason and len(run.scenarios) > 1:
            yield f"- **{for_markdown(scenario.name)}**: {for_markdown(scenario.reason)}"
            yield ""


def _fenced(check: CheckResult) -> Iterator[str]:
    detail = explain(check) or check.verdict.value
    if len(detail) > _LONGEST_DETAIL:
        detail = f"{detail[:_LONGEST_DETAIL]} …"
    yield for_markdown_block(detail)
    yield ""


def _row(scenario: ScenarioResult) -> str:
    done = sum(trial.status == "completed" for trial in scenario.trials)
    cells = (
        for_markdown(scenario.name),
        f"{_SIGNS[scenario.verdict]} {scenario.verdict}",
        str(scenario.nodes),
        f"{done} of {len(scenario.trials)}",
        seconds(scenario.seconds),
    )
    return f"| {' | '.join(cells)} |"


def _trials(run: RunResult) -> Iterator[str]:
    trials = [trial for scenario in run.scenarios for trial in scenario.trials]
    if not trials:
        return
    yield f"<details><summary>{many(len(trials), 'trial')}</summary>"
    yield ""
    yield "| run | status | score | cost | time |"
    yield "| --- | --- | ---: | ---: | ---: |"
    yield from map(_trial, trials[:_MOST_TRIALS])
    yield ""
    if len(trials) > _MOST_TRIALS:
        yield f"The first {_MOST_TRIALS}; all are in `results.json`."
        yield ""
    yield "</details>"
    yield ""


def _trial(trial: TrialResult) -> str:
    numbers = (figure(trial.score), figure(trial.cost), seconds(trial.seconds))
    words = (for_markdown(trial.run) or "-", for_markdown(trial.status))
    return f"| {' | '.join((*words, *numbers))} |"
