"""A rank keeps its interpreter's lock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metta_sandbox.errors import StackError
from metta_sandbox.scenario.faults.executor import FaultPair, Observed
from metta_sandbox.scenario.faults.in_ranks import SILENT, CodeFault, InCode


class HoldGilFault(CodeFault):
    """The trainer's main thread waits in C code without giving the interpreter's lock away."""

    key = "hold_gil"
    proof = "the process lives, and none of its other threads answers any more"
    example = "{hold_gil: {rank: 1}, when: {event: train.step, rank: 1, trial: 1, step: 1}}"


class HoldLockInRank(InCode[HoldGilFault]):
    """Keeps the interpreter's lock."""

    def judge(self, _happened: Mapping[str, Any]) -> Observed:
        """Look whether the process lives and does not answer."""
        rank = self.said.rank
        try:
            place = self.context.order(rank, {"do": "look"}, SILENT)["main"]
        except StackError as error:
            found = self.context.trainer(rank)
            lives = found is not None and found["status"] is None
            state = "lives" if lives else "has ended"
            return Observed(
                lives and "did not answer" in str(error), f"rank {rank} {state}: {error}"
            )
        return Observed(holds=False, seen=f"rank {rank} still answers, in {place}")


FAULT = FaultPair(HoldGilFault, HoldLockInRank)
