"""A node stands still."""

from __future__ import annotations

from metta_sandbox.scenario.faults.executor import FaultPair, Observed, StateExecutor
from metta_sandbox.scenario.faults.nodes import RUNS, STANDS_STILL, NodeFault


class PauseFault(NodeFault):
    """Everything on the node stands still; its connections stay open."""

    key = "pause"
    healing = "it goes on"
    proof = "the node's first process ran, stood still, and runs again"
    example = (
        "{pause: {node: sweep-worker}, when: {event: train.step, rank: 1, trial: 1}, "
        "until: {after: 1s}}"
    )


class PauseNode(StateExecutor[PauseFault]):
    """Lets a node stand still."""

    def inject(self) -> None:
        """Freeze the node."""
        self.context.power.freeze(self.said.node)
        self.context.still.add(self.said.node)

    def heal(self) -> None:
        """Thaw the node, if it stands still."""
        if self.context.power.state(self.said.node) == STANDS_STILL:
            self.context.power.thaw(self.said.node)
        self.context.still.discard(self.said.node)

    def look(self, *, struck: bool) -> Observed:
        """Look whether the node stands still, or runs."""
        state = self.context.power.state(self.said.node)
        wanted = STANDS_STILL if struck else RUNS
        return Observed(state == wanted, f"{self.said.node} {state}")


FAULT = FaultPair(PauseFault, PauseNode)
