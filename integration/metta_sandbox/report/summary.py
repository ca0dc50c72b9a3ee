"""``summary.md``: a run for GitHub's job summary, what failed first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from metta_sandbox.report.results import CheckResult, RunResult, ScenarioResult, TrialResult
from metta_sandbox.report.wording import explain, figure, headline, many, seconds
from metta_sandbox.verdict import Verdict

FILE_NAME = "summary.md"
_SIGNS = {
    Verdict.PASSED: "✅",
    Verdict.FAILED: "❌",
    Verdict.INCONCLUSIVE: "❔",
    Verdict.SKIPPED: "⏭️",
    Verdict.ERROR: "💥",
}
_GOOD = (Verdict.PASSED, Verdict.SKIPPED)
#: GitHub takes a mebibyte of summary from a step, and shows none of a longer one.
_MOST_CHECKS = 20
_MOST_TRIALS = 200
_LONGEST_DETAIL = 3_000
#: What Markdown, or the HTML in it, would take for more than a letter.
_MARKUP = re.compile(r"([\\`*_\[\]<>#|~&])")


def render(run: RunResult, folder: Path) -> str:
    """Write a run's summary.

    Args:
        run: What it came to.
        folder: Where its artifacts are.

    """
    return "\n".join(_lines(run, folder)) + "\n"


def _lines(run: RunResult, folder: Path) -> Iterator[str]:
    yield f"## {_SIGNS[run.verdict]} {_plain(headline(run))}"
    yield ""
    yield from _failures(run)
    for scenario in run.scenarios:
        for warning in (check.warning for check in scenario.checks if check.warning):
            yield f"- ⚠️ **{_plain(scenario.name)}**: {_plain(warning)}"
            yield ""
    if run.scenarios:
        yield "| scenario | verdict | nodes | trials | time |"
        yield "| --- | --- | ---: | ---: | ---: |"
        yield from map(_row, run.scenarios)
        yield ""
    yield from _trials(run)
    took = f"Run `{run.run}` on {run.engine}" if run.engine else f"Run `{run.run}`"
    yield f"{took}, {seconds(run.seconds)}. Artifacts: {_code(str(folder))}; open `report.html`."


def _failures(run: RunResult) -> Iterator[str]:
    bad = [
        (scenario, check)
        for scenario in run.scenarios
        for check in scenario.checks
        if check.verdict not in _GOOD
    ]
    for scenario in run.scenarios:
        if scenario.verdict not in _GOOD:
            for cause in scenario.causes:
                yield f"> **{_plain(scenario.name)}**, {cause.kind}: {_plain(cause.told)}"
                yield ""
    for scenario, check in bad[:_MOST_CHECKS]:
        yield f"### {_SIGNS[check.verdict]} {_plain(scenario.name)}: {_plain(check.name)}"
        yield ""
        yield from _fenced(check)
    if len(bad) > _MOST_CHECKS:
        yield f"… and {many(len(bad) - _MOST_CHECKS, 'more check')} that did not hold."
        yield ""
    for scenario in run.scenarios:
        if scenario.verdict not in _GOOD and scenario.reason and len(run.scenarios) > 1:
            yield f"- **{_plain(scenario.name)}**: {_plain(scenario.reason)}"
            yield ""


def _fenced(check: CheckResult) -> Iterator[str]:
    detail = explain(check) or check.verdict.value
    if len(detail) > _LONGEST_DETAIL:
        detail = f"{detail[:_LONGEST_DETAIL]} …"
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", detail)), default=0))
    yield f"{fence}text"
    yield detail
    yield fence
    yield ""


def _row(scenario: ScenarioResult) -> str:
    done = sum(trial.status == "completed" for trial in scenario.trials)
    cells = (
        _plain(scenario.name),
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
    return f"| {' | '.join((_plain(trial.run) or '-', trial.status, *numbers))} |"


def _plain(text: str) -> str:
    """Write text so that Markdown shows it as it is, in one line."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    return f"`{text.replace('`', chr(39))}`"
