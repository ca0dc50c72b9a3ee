"""How a sweep came to its end."""

from __future__ import annotations

from metta_sandbox.checks.evidence import Evidence
from metta_sandbox.checks.judgement import Judgement, judge, unlike
from metta_sandbox.scenario.expect import Ends


def check(expected: Ends, evidence: Evidence) -> Judgement:
    """Check the end that the harness saw."""
    seen = evidence.ending.replace("_", " ")
    if evidence.ending == expected.how:
        return judge([], seen)
    return judge([unlike("the sweep", f"ends {expected.wanted}", seen)], "")
