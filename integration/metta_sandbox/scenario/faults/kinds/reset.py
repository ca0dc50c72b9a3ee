"""Connections are reset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from metta_sandbox.scenario.faults.executor import Observed, Registered
from metta_sandbox.scenario.faults.networks import ANSWERS, RESET, LinkExecutor, LinkFault
from metta_sandbox.words import many

if TYPE_CHECKING:
    from metta_sandbox.stack.engines.sidecars import NetworkSidecar


class Reset(LinkFault):
    """Connections between two hosts are reset, each at its next segment, and none can be opened."""

    key = "reset"
    healing = "new connections can be opened"
    proof = "a connection between them answered, is reset at both ends, and a new one"
    example = (
        "{reset: {between: [sweep-master, sweep-worker]}, "
        "when: {event: train.step, rank: 1, trial: 1, step: 1}, until: {after: 500ms}}"
    )


class ResetConnections(LinkExecutor[Reset]):
    """Answers every segment with resets, to both."""

    rule: Mapping[str, Any] = {"kind": "reset"}

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._ended = 0
        self._answer = ""

    def before(self) -> Observed:
        """See that one can be opened, which is the one to be reset."""
        _, second = self._ends()
        self._ended = len(second.ask("ends"))
        return self._open()

    def during(self) -> Observed:
        """See that it is reset, at both ends."""
        first, second = self._ends()
        if not self._answer:
            self._answer = first.ask("say", name=self.name)
        ended = second.ask("ends")[self._ended :]
        seen = f"{first.host} sees {self._answer}, {second.host} {', '.join(ended) or 'nothing'}"
        return Observed(self._answer == RESET and RESET in ended, seen)

    def after(self) -> Observed:
        """See that one can be opened again."""
        opened = self._open()
        return Observed(
            opened.holds, f"{opened.seen}; {many(self._struck, 'segment')} reset in all"
        )

    def _open(self) -> Observed:
        first, second = self._ends()
        answer = first.ask("connect", name=self.name, to=second.connections())
        seen = f"a connection from {first.host} to {second.host}: {answer}"
        return Observed(answer == ANSWERS, seen)

    def _ends(self) -> Sequence[NetworkSidecar]:
        return [self.sidecar(host) for host in self.said.between]


FAULT = Registered(Reset, ResetConnections)
