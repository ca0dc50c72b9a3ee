"""A rank leaves a collective out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metta_sandbox.scenario.faults.executor import FaultPair, Observed
from metta_sandbox.scenario.faults.in_ranks import CodeFault, InCode


class SkipCollectiveFault(CodeFault):
    """The rank leaves out its next collective, or the next reduction of its gradients by DDP."""

    key = "skip_collective"
    proof = "the collective was called and returned at once, without communicating"
    voids = frozenset({"digests"})
    example = "{skip_collective: {rank: 1}, when: {event: train.step, rank: 1, trial: 1, step: 1}}"


class SkipCollectiveInRank(InCode[SkipCollectiveFault]):
    """Leaves a collective out."""

    def judge(self, happened: Mapping[str, Any]) -> Observed:
        """Tell whether a collective was called and left out."""
        return Observed(bool(happened.get("skipped")), f"left out {happened.get('skipped')}")


FAULT = FaultPair(SkipCollectiveFault, SkipCollectiveInRank)
