"""A node is told to end, with or without notice."""

from __future__ import annotations

import signal
from typing import Any

from pydantic import Field

from metta_sandbox.node.agent.events import Told
from metta_sandbox.scenario.faults.executor import FaultPair, Message, Observed
from metta_sandbox.scenario.faults.nodes import EndNode, NodeFault
from metta_sandbox.scenario.notices import used_notice
from metta_sandbox.scenario.units import Duration
from metta_sandbox.words import time

#: Seconds within which a node is gone once its notice is over.
_AFTERWARDS = 15.0


class TerminateFault(NodeFault):
    """The node is told to end, as by a scheduler that takes it away, and then loses its power."""

    key = "terminate"
    proof = (
        "the node's first process ran, and has ended; with `grace`, what ran on it got SIGTERM, "
        "and had ended, or was killed, when that was over"
    )
    example = (
        "{terminate: {node: sweep-worker}, when: {event: handoff.received, node: sweep-worker}}"
    )

    grace: Duration | None = Field(
        default=None,
        description="How long after SIGTERM it takes until what still runs is killed: the notice "
        "that clouds give. Default: a second, and no notice.",
    )

    def __str__(self) -> str:
        notice = "" if self.grace is None else f" with {time(self.grace)} notice"
        return f"{super().__str__()}{notice}"


class TerminateNode(EndNode[TerminateFault]):
    """Tells a node to end, with or without notice."""

    number = signal.SIGTERM

    _ended: Told | None = None

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        if self.said.grace is not None:
            self.patience = self.said.grace + _AFTERWARDS

    def inject(self) -> None:
        """Send the signal, or have the agent give notice."""
        if self.said.grace is None:
            super().inject()
        else:
            self.context.ask(self.said.node, "notice", grace=self.said.grace)

    def take(self, message: Message) -> None:
        """Keep what the node's agent tells of how the notice was used."""
        record = message.get("record", {})
        if record.get("event") == "node.ended" and message.get("node") == self.said.node:
            self._ended = record

    def during(self) -> Observed:
        """See that the node has ended, and tell how its notice was used."""
        if self.said.grace is None:
            return super().during()
        if self._ended is None:
            return Observed(holds=False, seen=f"{self.said.node} has not ended")
        observed = super().during()
        return Observed(observed.holds, f"{observed.seen}; {used_notice(self._ended)}")


FAULT = FaultPair(TerminateFault, TerminateNode)
