"""Scores and costs of trials against their bounds."""

from __future__ import annotations

from collections.abc import Iterator

from metta_sandbox.checks.evidence import Evidence, TrialRecord
from metta_sandbox.checks.judgement import Finding, Judgement, unlike
from metta_sandbox.checks.selection import across, record, title
from metta_sandbox.scenario.expect import CostLevel, ScoreLevel


def score(expected: ScoreLevel, evidence: Evidence) -> Judgement:
    """Check the scores of completed trials."""
    return _check(expected, evidence, evidence.completed, "score")


def cost(expected: CostLevel, evidence: Evidence) -> Judgement:
    """Check the costs of the trials that are over."""
    return _check(expected, evidence, evidence.trials, "cost")


def _check(
    expected: ScoreLevel, evidence: Evidence, among: tuple[TrialRecord, ...], field: str
) -> Judgement:
    def place(trial: TrialRecord) -> str:
        return evidence.line_of(record(evidence, trial), f'"{field}"')

    def look(trial: TrialRecord) -> Iterator[Finding]:
        number = getattr(trial, field)
        if number is None or not expected.hold(number):
            seen = "none" if number is None else f"{number:g}"
            yield unlike(title(trial), expected.wanted, seen, place(trial))

    def tell(trial: TrialRecord) -> Finding:
        return Finding(f"{getattr(trial, field):g} of {title(trial)}", place(trial))

    return across(evidence, expected.of, among, look, tell)
