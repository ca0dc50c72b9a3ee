"""A rank's gradients are NaN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metta_sandbox.scenario.faults.executor import FaultPair, Observed
from metta_sandbox.scenario.faults.in_ranks import CodeFault, InCode


class NanGradientsFault(CodeFault):
    """The gradients of one optimizer step are NaN."""

    key = "nan_gradients"
    proof = "gradients that were finite are NaN as the optimizer reads them"
    voids = frozenset({"digests"})
    example = (
        "{nan_gradients: {rank: 1}, when: {event: optimizer.step, rank: 1, trial: 1, step: 2}}"
    )


class PoisonGradients(InCode[NanGradientsFault]):
    """Makes gradients NaN."""

    def judge(self, happened: Mapping[str, Any]) -> Observed:
        """Tell whether gradients are NaN that were not before."""
        before, now = happened.get("nan_before"), happened.get("nan")
        seen = f"of {happened.get('gradients')} gradients {before} had NaN, then {now}, at step "
        return Observed(before == 0 and bool(now), f"{seen}{happened.get('step')} of the optimizer")


FAULT = FaultPair(NanGradientsFault, PoisonGradients)
