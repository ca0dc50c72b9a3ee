"""A rank reads memory that it has not."""

from __future__ import annotations

import signal

from metta_sandbox.scenario.faults.executor import FaultPair
from metta_sandbox.scenario.faults.in_ranks import CodeFault, EndRank


class SegfaultFault(CodeFault):
    """The trainer reads memory that it has not."""

    key = "segfault"
    proof = "the rank's process ran, and has ended by SIGSEGV"
    example = "{segfault: {rank: 1}, when: {event: train.step, rank: 1, trial: 1, step: 1}}"


class SegfaultInRank(EndRank[SegfaultFault]):
    """Has the rank read memory that is not there."""

    @property
    def wanted(self) -> int:
        """The status of a process that SIGSEGV ends."""
        return -int(signal.SIGSEGV)


FAULT = FaultPair(SegfaultFault, SegfaultInRank)
