"""A port is somebody else's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from metta_sandbox.errors import StackError
from metta_sandbox.scenario.base import Misfit
from metta_sandbox.scenario.faults.base import OneNode
from metta_sandbox.scenario.faults.executor import FaultPair, Observed
from metta_sandbox.scenario.faults.networks import NetworkExecutor, NetworkFault
from metta_sandbox.scenario.faults.trigger import Trigger
from metta_sandbox.scenario.workload import Workload

if TYPE_CHECKING:
    from metta_sandbox.stack.engines.sidecars import Sidecar


class PortTakenFault(OneNode, NetworkFault):
    """Somebody listens on the port at which a trial's ranks want to meet, or on another one."""

    key = "port_taken"
    healing = "nobody does"
    proof = "the port could be had on the node, can't, and can again"
    example = "{port_taken: {node: sweep-master}, when: {event: handoff.sent, trial: 1}}"

    port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="The port. Default: the one in the trigger's event, as handoff.sent has it.",
    )

    def misplaced(self, when: Trigger | None, _workload: Workload) -> Iterator[Misfit]:
        """Refuse a trigger that names no port, where the fault names none either."""
        if self.port is None and when and not when.event:
            yield ("when",), "expected an event that has a port, as handoff.sent has; or port"

    def __str__(self) -> str:
        return f"port {self.port or 'of the rendezvous'} taken on {self.node}"


class TakePort(NetworkExecutor[PortTakenFault]):
    """Listens on a port of a node before others do."""

    @property
    def port(self) -> int:
        """The port that is taken.

        Raises:
            StackError: Nothing says which.

        """
        port = self.said.port or self.moment.get("port")
        if not isinstance(port, int):
            raise StackError("what set it off names no port, as handoff.sent does")
        return port

    def inject(self) -> None:
        """Listen on the port."""
        self._node.ask("take", port=self.port)

    def heal(self) -> None:
        """Close the port again."""
        self._node.ask("release", port=self.port)

    @property
    def _node(self) -> Sidecar:
        return self.sidecar(self.said.node)

    def look(self, *, struck: bool) -> Observed:
        """Try to bind the port on the node."""
        found = self._node.ask("free", port=self.port)
        seen = f"port {self.port} of {self.said.node} {'can' if found else 'can not'} be had"
        return Observed(found is not struck, seen)


FAULT = FaultPair(PortTakenFault, TakePort)
