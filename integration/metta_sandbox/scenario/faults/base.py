"""What every kind of fault says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from pydantic import Field

from metta_sandbox.scenario.base import Misfit, NamedHosts, Part
from metta_sandbox.scenario.faults.trigger import Trigger
from metta_sandbox.scenario.hosts import NodeName
from metta_sandbox.scenario.values import Value
from metta_sandbox.scenario.workload import Workload

#: Where a fault strikes, which decides what carries it out.
Family = Literal["nodes", "resources", "network", "processes", "code", "files", "control plane"]
#: What is struck from beside a host.
Sidecar = Literal["network", "disk"]
#: Whether a kind must, may or can't have a trigger.
Triggered = Literal["must", "may", "none"]


class FaultKind(Part):
    """The target and the parameters of one kind of fault.

    Documentation, schema and validation are made from these. What carries a kind out lies in its
    file, too.
    """

    #: The key that names it in a file.
    key: ClassVar[str]
    family: ClassVar[Family]
    #: What shows that it happened, in words.
    proof: ClassVar[str]
    #: How it is written, as the documentation's example and the first of a corpus.
    example: ClassVar[str]
    #: Where it may have a trigger and has none, it is there from the start.
    trigger: ClassVar[Triggered] = "must"
    #: What ends it, in words; empty for what can't be undone.
    healing: ClassVar[str] = ""
    #: Whether it is undone when the sweep is over, at the latest.
    must_heal: ClassVar[bool] = True
    #: What somebody strikes from beside its hosts, which must be containers then.
    sidecar: ClassVar[Sidecar | None] = None
    #: Whether its nodes must be containers.
    in_containers: ClassVar[bool] = False
    #: Whether trials complete all the same where it strikes, unless the scenario says otherwise.
    harmless: ClassVar[bool] = False
    #: What an autopsy may give as the cause of what its example does; nothing if all goes on.
    causes: ClassVar[tuple[str, ...]] = ()
    #: Checks that need not hold where it strikes.
    voids: ClassVar[frozenset[str]] = frozenset()

    @property
    def hosts(self) -> NamedHosts:
        """The hosts that the fault names, each with the keys that lead to it."""
        return ()

    @property
    def beside(self) -> tuple[str, ...]:
        """The hosts beside which the fault needs a sidecar."""
        return tuple(host for _, host in self.hosts) if self.sidecar else ()

    @property
    def target_rank(self) -> int | None:
        """The rank that the fault strikes, if it strikes one."""
        return None

    @property
    def injected_rank(self) -> int | None:
        """The rank into whose interpreter code is put for the fault."""
        return None

    @property
    def struck(self) -> str | None:
        """The route of the control plane whose calls the fault strikes, if it is one."""
        return None

    @property
    def late_node(self) -> str | None:
        """The node on which the sweep's command is not started with the others."""
        return None

    @property
    def comes_after(self) -> float | None:
        """How many seconds after the sweep's start the fault comes, if it says so itself."""
        return None

    @property
    def lasts(self) -> float | None:
        """After how many seconds the fault ends, if it says so itself."""
        return None

    @property
    def heals(self) -> bool:
        """Whether the fault can be undone."""
        return bool(self.healing)

    def misplaced(self, _when: Trigger | None, _workload: Workload) -> Iterator[Misfit]:
        """Find what its trigger, or what runs on the nodes, does not let in."""
        return iter(())

    def overrides_of(self, _rank: int, _trial: int) -> Mapping[str, Value]:
        """Give the overrides that a rank is started with in a trial, beside those handed off."""
        return {}

    def __str__(self) -> str:
        return self.key


class OneNode(FaultKind):
    """A kind of fault that strikes one node."""

    node: NodeName = Field(description="The node.")

    @property
    def hosts(self) -> NamedHosts:
        """The node that is struck."""
        return ((("node",), self.node),)
