"""A rank sleeps for ever."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metta_sandbox.scenario.faults.executor import FaultPair, Observed
from metta_sandbox.scenario.faults.in_ranks import SILENT, CodeFault, InCode


class SleepFault(CodeFault):
    """The trainer's main thread sleeps and never wakes."""

    key = "sleep"
    proof = "the main thread's stack ends in the sleep"
    example = "{sleep: {rank: 1}, when: {event: train.step, rank: 1, trial: 1, step: 1}}"


class SleepInRank(InCode[SleepFault]):
    """Lets the main thread sleep for ever."""

    def judge(self, _happened: Mapping[str, Any]) -> Observed:
        """Look whether the main thread's stack ends in the sleep."""
        place = self.context.order(self.said.rank, {"do": "look"}, SILENT)["main"]
        return Observed(place.startswith("_sleep_for_ever"), f"its main thread is in {place}")


FAULT = FaultPair(SleepFault, SleepInRank)
