"""How long a scenario, its phases and its trials took."""

from __future__ import annotations

from collections.abc import Iterator

from metta_sandbox.checks.evidence import Evidence, TrialRecord
from metta_sandbox.checks.judgement import Finding, Judgement, judge, unclear, unlike
from metta_sandbox.checks.selection import across, record, title
from metta_sandbox.scenario.expect import Took


def check(expected: Took, evidence: Evidence) -> Judgement:
    """Check a duration as the harness measured it; that of a trial, as rank 0 did."""
    if isinstance(expected.of, int) or expected.of == "trial":
        return _trials(expected, evidence)
    seconds = evidence.seconds.get(expected.of)
    if seconds is None:
        return unclear(f"{expected.subject} did not come to its end, so it has no duration")
    seen = f"{seconds:.3f} s"
    if expected.hold(seconds):
        return judge([], seen)
    return judge([unlike(expected.subject, expected.wanted, seen)], "")


def _trials(expected: Took, evidence: Evidence) -> Judgement:
    def place(trial: TrialRecord) -> str:
        return evidence.line_of(record(evidence, trial), '"seconds"')

    def look(trial: TrialRecord) -> Iterator[Finding]:
        if trial.seconds is None or not expected.hold(trial.seconds):
            seen = "none" if trial.seconds is None else f"{trial.seconds:.3f} s"
            yield unlike(title(trial), expected.wanted, seen, place(trial))

    def tell(trial: TrialRecord) -> Finding:
        return Finding(f"{trial.seconds:.3f} s of {title(trial)}", place(trial))

    of = expected.of if isinstance(expected.of, int) else "all"
    return across(evidence, of, evidence.trials, look, tell)
