"""A host's name is not known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from metta_sandbox.scenario.base import NamedHosts
from metta_sandbox.scenario.faults.executor import FaultPair, Observed
from metta_sandbox.scenario.faults.networks import (
    ANSWERS,
    NO_SUCH_NAME,
    NetworkExecutor,
    NetworkFault,
)
from metta_sandbox.scenario.hosts import HostName, NodeName

if TYPE_CHECKING:
    from metta_sandbox.stack.engines.sidecars import Sidecar

#: Docker's name server, as a node sees it.
_RESOLVER = "127.0.0.11"


class NoNameFault(NetworkFault):
    """A host's name is not known any more on a node; what is connected stays so."""

    key = "no_name"
    healing = "it is known again"
    proof = "the node's name server answered, says that there is none, answers again"
    example = (
        "{no_name: {name: sweep-master, on: sweep-worker}, "
        "when: {event: handoff.received, node: sweep-worker, trial: 1}}"
    )

    name: HostName = Field(description="The host whose name it is.")
    on: NodeName = Field(description="The node that asks.")

    @property
    def hosts(self) -> NamedHosts:
        """The host that is named, and the node that asks."""
        return ((("name",), self.name), (("on",), self.on))

    @property
    def beside(self) -> tuple[str, ...]:
        """The node that asks."""
        return (self.on,)

    def __str__(self) -> str:
        return f"no name {self.name} on {self.on}"


class ForgetName(NetworkExecutor[NoNameFault]):
    """Has a node's name server say that there is no such name."""

    def inject(self) -> None:
        """Have the node's name server deny the name."""
        self._on.ask("strike", name=self.name, peers=[_RESOLVER], kind="no name", of=self.said.name)

    def heal(self) -> None:
        """Let the name server answer as before."""
        self._on.ask("heal", name=self.name)

    @property
    def _on(self) -> Sidecar:
        return self.sidecar(self.said.on)

    def look(self, *, struck: bool) -> Observed:
        """Look the name up on the node that asks."""
        wanted = NO_SUCH_NAME if struck else ANSWERS
        answer = self._on.ask("lookup", name=self.said.name)
        return Observed(answer == wanted, f"{self.said.name} on {self.said.on}: {answer}")


FAULT = FaultPair(NoNameFault, ForgetName)
