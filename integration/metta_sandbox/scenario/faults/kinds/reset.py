"""Connections are reset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from metta_sandbox.scenario.faults.executor import FaultPair, Observed
from metta_sandbox.scenario.faults.networks import ANSWERS, RESET, LinkExecutor, LinkFault
from metta_sandbox.words import many

if TYPE_CHECKING:
    from metta_sandbox.stack.engines.sidecars import Sidecar


class ResetFault(LinkFault):
    """Connections between two hosts are reset, each at its next segment, and none can be opened."""

    key = "reset"
    healing = "new connections can be opened"
    proof = "a connection between them answered, is reset at both ends, and a new one"
    example = (
        "{reset: {between: [sweep-master, sweep-worker]}, "
        "when: {event: train.step, rank: 1, trial: 1, step: 1}, until: {after: 500ms}}"
    )


class ResetConnections(LinkExecutor[ResetFault]):
    """Answers every segment with a reset to both hosts."""

    rule: Mapping[str, Any] = {"kind": "reset"}
    #: How many connections had ended at the second host before, and what the first host sees.
    _ended = 0
    _answer = ""

    def before(self) -> Observed:
        """Open the connection that is to be reset."""
        _, second = self._ends()
        self._ended = len(second.ask("ends"))
        return self._open()

    def during(self) -> Observed:
        """See that the connection is reset at both ends."""
        first, second = self._ends()
        if not self._answer:
            self._answer = first.ask("say", name=self.name)
        ended = second.ask("ends")[self._ended :]
        seen = f"{first.host} sees {self._answer}, {second.host} {', '.join(ended) or 'nothing'}"
        return Observed(self._answer == RESET and RESET in ended, seen)

    def after(self) -> Observed:
        """See that a new connection can be opened."""
        opened = self._open()
        return Observed(
            opened.holds, f"{opened.seen}; {many(self._struck_packets, 'segment')} reset in all"
        )

    def _open(self) -> Observed:
        first, second = self._ends()
        answer = first.ask("connect", name=self.name, to=second.connections())
        seen = f"a connection from {first.host} to {second.host}: {answer}"
        return Observed(answer == ANSWERS, seen)

    def _ends(self) -> Sequence[Sidecar]:
        return [self.sidecar(host) for host in self.said.between]


FAULT = FaultPair(ResetFault, ResetConnections)
