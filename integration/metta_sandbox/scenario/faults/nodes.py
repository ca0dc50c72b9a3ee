"""What faults of whole nodes have in common."""

from __future__ import annotations

import signal
from typing import TypeVar

from metta_sandbox.scenario.faults.base import OneNode
from metta_sandbox.scenario.faults.executor import Executor, Observed

#: What a node does, in words.
RUNS = "runs"
STANDS_STILL = "stands still"


class NodeFault(OneNode):
    """A kind of fault that strikes a whole node."""

    family = "nodes"

    def __str__(self) -> str:
        return f"{self.key.replace('_', ' ')} {self.node}"


F = TypeVar("F", bound=NodeFault)


class EndNode(Executor[F]):
    """Ends a node by a signal."""

    number = signal.SIGKILL

    def before(self) -> Observed:
        """See that the node runs."""
        state = self.context.power.state(self.said.node)
        return Observed(state == RUNS, f"{self.said.node} {state}")

    def inject(self) -> None:
        """Send the signal to the node's first process."""
        self.context.power.signal(self.said.node, self.number)

    def during(self) -> Observed:
        """See that the node has ended by the signal."""
        state = self.context.power.state(self.said.node)
        ended = state not in (RUNS, STANDS_STILL)
        by_it = self.number != signal.SIGKILL or "killed by signal 9" in state
        return Observed(ended and by_it, f"{self.said.node} {state}")
