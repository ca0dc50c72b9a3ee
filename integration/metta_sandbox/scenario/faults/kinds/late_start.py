"""A node starts later than the others."""

from __future__ import annotations

from pydantic import Field

from metta_sandbox.errors import StackError
from metta_sandbox.scenario.faults.executor import Executor, FaultPair, Observed
from metta_sandbox.scenario.faults.nodes import NodeFault
from metta_sandbox.scenario.units import Duration
from metta_sandbox.words import time


class LateStartFault(NodeFault):
    """The sweep's command starts later on the node than on the others."""

    key = "late_start"
    trigger = "none"
    proof = "the command ran on the other nodes, and not yet on this one"
    example = "{late_start: {node: sweep-worker, by: 2s}}"

    by: Duration = Field(description="How much later.")

    @property
    def late_node(self) -> str:
        """The node that starts late."""
        return self.node

    @property
    def comes_after(self) -> float:
        """How much later, in seconds."""
        return self.by

    def __str__(self) -> str:
        return f"{self.node} starts {time(self.by)} late"


class StartLate(Executor[LateStartFault]):
    """Starts the sweep's command on a node once it has run elsewhere for a while."""

    #: Set when the sweep is over before the command was to start.
    too_late = False

    def missed(self) -> bool:
        """Count one that was missing all the time: it has harmed the sweep as much as it could."""
        self.too_late = True
        return True

    def before(self) -> Observed:
        """See that the command runs on the other nodes, and not on this one."""
        others = [host for host in self.context.plan.hosts if host != self.said.node]
        running = [host for host in others if self._runs_on(host)]
        here = self._runs_on(self.said.node)
        on = ", ".join(running) or "none"
        when = "at the sweep's end" if self.too_late else f"{time(self.said.by)} after the start"
        seen = f"{when} it runs on {on}"
        seen += f"{' and' if here else ', and not'} on {self.said.node}"
        return Observed(running == others and not here, seen)

    def inject(self) -> None:
        """Start the command, unless the sweep is over."""
        if not self.too_late:
            self.context.start_on(self.said.node)

    def during(self) -> Observed:
        """See that the command runs on this node, too, or never did."""
        here = self._runs_on(self.said.node)
        seen = f"{'runs' if here else 'does not run'} on {self.said.node}"
        return Observed(here is not self.too_late, seen)

    def _runs_on(self, host: str) -> bool:
        try:
            return self.context.command(host) is not None
        except StackError:
            return False


FAULT = FaultPair(LateStartFault, StartLate)
