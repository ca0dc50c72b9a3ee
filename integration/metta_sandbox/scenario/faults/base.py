"""What every kind of fault says of itself."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from metta_sandbox.scenario.base import Part
from metta_sandbox.scenario.hosts import NodeName

#: Where a fault strikes, which decides what carries it out.
Family = Literal["nodes", "resources", "network", "processes", "code", "files", "control plane"]
#: Whether a kind must, may or can't have a trigger.
Triggered = Literal["must", "may", "none"]


class FaultKind(Part):
    """The target and the parameters of one kind of fault.

    Documentation, schema and validation are made from these; ``metta_sandbox.faults`` has what
    carries each out.
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
    #: Whether somebody must be beside its hosts, which must be containers then.
    beside_nodes: ClassVar[bool] = False
    #: Whether its nodes must be containers.
    in_containers: ClassVar[bool] = False
    #: Whether trials complete all the same where it strikes, unless the scenario says otherwise.
    harmless: ClassVar[bool] = False
    #: Checks that need not hold where it strikes.
    voids: ClassVar[frozenset[str]] = frozenset()

    @property
    def hosts(self) -> tuple[tuple[tuple[str | int, ...], str], ...]:
        """The hosts it names, each with the keys that lead to it."""
        return ()

    @property
    def target_rank(self) -> int | None:
        """The rank that it strikes, if it strikes one."""
        return None

    @property
    def lasts(self) -> float | None:
        """After how many seconds it ends, where it says so itself."""
        return None

    @property
    def heals(self) -> bool:
        """Whether it can be undone."""
        return bool(self.healing)

    def __str__(self) -> str:
        return self.key


class OneNode(FaultKind):
    """One that strikes a node."""

    node: NodeName = Field(description="The node.")

    @property
    def hosts(self) -> tuple[tuple[tuple[str | int, ...], str], ...]:
        """The node."""
        return ((("node",), self.node),)
