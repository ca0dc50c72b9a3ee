"""A node stands still."""

from __future__ import annotations

from metta_sandbox.scenario.faults.executor import Executor, Observed, Registered
from metta_sandbox.scenario.faults.nodes import RUNS, STANDS_STILL, NodeFault


class Pause(NodeFault):
    """Everything on the node stands still; its connections stay open."""

    key = "pause"
    healing = "it goes on"
    proof = "the node's first process ran, stood still, and runs again"
    example = (
        "{pause: {node: sweep-worker}, when: {event: train.step, rank: 1, trial: 1}, "
        "until: {after: 1s}}"
    )


class PauseNode(Executor[Pause]):
    """Lets a node stand still."""

    def before(self) -> Observed:
        """See that it runs."""
        state = self.context.power.state(self.said.node)
        return Observed(state == RUNS, f"{self.said.node} {state}")

    def inject(self) -> None:
        """Freeze it."""
        self.context.power.freeze(self.said.node)
        self.context.still.add(self.said.node)

    def during(self) -> Observed:
        """See that it stands still."""
        state = self.context.power.state(self.said.node)
        return Observed(state == STANDS_STILL, f"{self.said.node} {state}")

    def heal(self) -> None:
        """Thaw it, if it is still there."""
        if self.context.power.state(self.said.node) == STANDS_STILL:
            self.context.power.thaw(self.said.node)
        self.context.still.discard(self.said.node)

    def after(self) -> Observed:
        """See that it runs again."""
        state = self.context.power.state(self.said.node)
        return Observed(state == RUNS, f"{self.said.node} {state}")


FAULT = Registered(Pause, PauseNode)
