"""A rank ends with a status."""

from __future__ import annotations

from pydantic import Field

from metta_sandbox.scenario.faults.executor import FaultPair
from metta_sandbox.scenario.faults.in_ranks import CodeFault, EndRank


class ExitFault(CodeFault):
    """The trainer's process ends with a status, without any cleaning up."""

    key = "exit"
    proof = "the rank's process ran, and has ended with the status"
    example = "{exit: {rank: 1, status: 3}, when: {event: train.step, rank: 1, trial: 1, step: 1}}"

    status: int = Field(default=1, ge=0, le=255, description="The exit status.")


class ExitRank(EndRank[ExitFault]):
    """Ends the rank's process with a status."""

    @property
    def wanted(self) -> int:
        """The status that the scenario asks for."""
        return self.said.status


FAULT = FaultPair(ExitFault, ExitRank)
