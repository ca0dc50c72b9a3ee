"""A node loses its power and gets it back."""

from __future__ import annotations

from pydantic import Field

from metta_sandbox.errors import StackError
from metta_sandbox.scenario.faults.executor import FaultPair, Observed
from metta_sandbox.scenario.faults.nodes import RUNS, STANDS_STILL, EndNode, NodeFault
from metta_sandbox.scenario.units import Duration
from metta_sandbox.words import time


class RestartFault(NodeFault):
    """Everything on the node ends at once, and later the node is started again."""

    key = "restart"
    healing = "it has started again"
    proof = (
        "the node's first process ran, has ended by SIGKILL, and another one runs that has "
        "registered"
    )
    example = (
        "{restart: {node: sweep-worker, down: 2s}, "
        "when: {event: train.step, rank: 1, trial: 1, step: 1}}"
    )

    down: Duration = Field(default=2.0, description="How long it is gone. Default: 2s.")

    @property
    def lasts(self) -> float:
        """How long the node is gone, in seconds."""
        return self.down

    def __str__(self) -> str:
        return f"{self.node} restarts, down for {time(self.down)}"


class RestartNode(EndNode[RestartFault]):
    """Cuts a node's power, and turns it on again."""

    #: Its agent has to start, and to find the hub.
    patience = 60.0

    def heal(self) -> None:
        """Start the node, unless it runs."""
        if self.context.power.state(self.said.node) not in (RUNS, STANDS_STILL):
            self.context.power.start(self.said.node)

    def after(self) -> Observed:
        """See that the node runs, and that its agent answers."""
        state = self.context.power.state(self.said.node)
        try:
            self.context.groups(self.said.node)
        except StackError as error:
            return Observed(holds=False, seen=f"{self.said.node} {state}: {error}")
        return Observed(state == RUNS, f"{self.said.node} {state}, and its agent answers")


FAULT = FaultPair(RestartFault, RestartNode)
