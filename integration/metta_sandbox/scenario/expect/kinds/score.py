"""Scores of trials against their bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from metta_sandbox.scenario.expect.bounds import OF, Level, Which, whose
from metta_sandbox.scenario.expect.judgement import Finding, Judgement, unlike
from metta_sandbox.scenario.expect.kind import CheckKind, CheckPair
from metta_sandbox.scenario.expect.selection import across, record, title

if TYPE_CHECKING:
    from metta_sandbox.checks.evidence import Evidence, TrialRecord


class ScoreCheck(Level, CheckKind):
    """Where the scores of completed trials must be."""

    key = "score"
    about = "The score of completed trials."
    example = "score: {of: best, value: 0.5, within: 10%}"

    of: Which = Field(default="all", description=OF)

    @property
    def wanted(self) -> str:
        """Which scores are allowed."""
        return self.range

    def __str__(self) -> str:
        return f"score of {whose(self.of)} is {self.wanted}"


def check(expected: ScoreCheck, evidence: Evidence) -> Judgement:
    """Check the scores of completed trials."""
    return check_levels(expected, evidence, evidence.completed, "score")


def check_levels(
    expected: ScoreCheck, evidence: Evidence, among: tuple[TrialRecord, ...], field: str
) -> Judgement:
    """Check a number of each trial that is meant."""

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


CHECK = CheckPair(ScoreCheck, check)
