"""Costs of trials against their bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metta_sandbox.scenario.expect.bounds import whose
from metta_sandbox.scenario.expect.judgement import Judgement
from metta_sandbox.scenario.expect.kind import CheckPair
from metta_sandbox.scenario.expect.kinds.score import ScoreCheck, check_levels

if TYPE_CHECKING:
    from metta_sandbox.checks.evidence import Evidence


class CostCheck(ScoreCheck):
    """The costs of trials that are over, failed ones too."""

    key = "cost"
    about = "The cost of trials that are over, failed ones too."
    example = "cost: {at_most: 2048}"

    def __str__(self) -> str:
        return f"cost of {whose(self.of)} is {self.wanted}"


def check(expected: CostCheck, evidence: Evidence) -> Judgement:
    """Check the costs of the trials that are over."""
    return check_levels(expected, evidence, evidence.trials, "cost")


CHECK = CheckPair(CostCheck, check)
