"""Two hosts hear nothing of each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metta_sandbox.scenario.faults.executor import FaultPair
from metta_sandbox.scenario.faults.networks import Crossing, LinkExecutor, OneWayFault


class PartitionFault(OneWayFault):
    """Nothing that two hosts send each other arrives any more; their connections stay open."""

    key = "partition"
    proof = "datagrams between them arrived, are dropped, and arrive again"
    example = (
        "{partition: {between: [sweep-master, sweep-worker]}, "
        "when: {event: train.step, rank: 1, trial: 1, step: 1}, until: {after: 2s}}"
    )


class CutLink(LinkExecutor[PartitionFault]):
    """Drops every packet."""

    rule: Mapping[str, Any] = {"kind": "loss", "share": 1.0}

    def is_struck(self, crossing: Crossing) -> bool:
        """Tell whether nothing arrives because the fault dropped it."""
        return crossing.arrived == 0 and crossing.lost == crossing.sent


FAULT = FaultPair(PartitionFault, CutLink)
