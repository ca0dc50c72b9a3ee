"""Which ranks something is put into for the sake of faults."""

from __future__ import annotations

from collections.abc import Sequence

from metta_sandbox.scenario.faults import FaultItem
from metta_sandbox.scenario.faults.possible import STEP_OF_OPTIMIZER

#: More than there can be: 64 nodes of 8 ranks.
_ALL = range(1024)


def injected_ranks(faults: Sequence[FaultItem]) -> tuple[int, ...]:
    """List the ranks whose code is struck, or whose optimizer's steps set something off."""
    ranks: set[int] = set()
    for fault in faults:
        if fault.said.injected_rank is not None:
            ranks.add(fault.said.injected_rank)
        for trigger in (fault.when, fault.until):
            if trigger is not None and trigger.event == STEP_OF_OPTIMIZER:
                ranks.update(_ALL if trigger.rank is None else (trigger.rank,))
    return tuple(sorted(ranks))
