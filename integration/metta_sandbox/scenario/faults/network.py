"""Faults of the network, between the hosts that are named and nobody else."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from metta_sandbox.scenario.faults.base import Family, FaultKind, OneNode
from metta_sandbox.scenario.hosts import HostName, NodeName
from metta_sandbox.scenario.units import Duration


class NetworkFault(FaultKind):
    """A fault that is carried out from beside its hosts, in their network."""

    family: ClassVar[Family] = "network"
    beside_nodes: ClassVar[bool] = True

    @property
    def beside(self) -> tuple[str, ...]:
        """The hosts beside which somebody must be."""
        return tuple(host for _, host in self.hosts)


class LinkFault(NetworkFault):
    """A fault of what two hosts send each other."""

    healing: ClassVar[str] = "all that they send arrives as before"

    between: Annotated[tuple[HostName, HostName], Field(strict=False)] = Field(
        description="Two nodes, or a node and `dummy-api`."
    )

    @field_validator("between")
    @classmethod
    def _are_two(cls, value: tuple[str, str]) -> tuple[str, str]:
        if value[0] == value[1]:
            raise ValueError("expected two hosts that are not the same")
        return value

    @property
    def hosts(self) -> tuple[tuple[tuple[str | int, ...], str], ...]:
        """Both."""
        return tuple((("between", index), host) for index, host in enumerate(self.between))

    @property
    def directions(self) -> tuple[tuple[str, str], ...]:
        """Who sends what is struck, and to whom."""
        first, second = self.between
        return ((first, second), (second, first))

    def __str__(self) -> str:
        return f"{self.key.replace('_', ' ')} between {' and '.join(self.between)}"


class OneWayFault(LinkFault):
    """A fault that can also strike one direction alone."""

    one_way: bool = Field(
        default=False, description="Only what the first sends to the second is struck."
    )

    @property
    def directions(self) -> tuple[tuple[str, str], ...]:
        """Who sends what is struck, and to whom."""
        return super().directions[: 1 if self.one_way else 2]

    def __str__(self) -> str:
        first, second = self.between
        where = f"from {first} to {second}" if self.one_way else f"between {first} and {second}"
        return f"{self.key.replace('_', ' ')} {where}"


class Partition(OneWayFault):
    """Nothing that two hosts send each other arrives any more; their connections stay open."""

    key: ClassVar[str] = "partition"
    proof: ClassVar[str] = "datagrams between them arrived, are dropped, and arrive again"
    example: ClassVar[str] = (
        "{partition: {between: [sweep-master, sweep-worker]}, "
        "when: {event: train.step, rank: 1, trial: 1, step: 1}, until: {after: 2s}}"
    )


class PacketLoss(OneWayFault):
    """A share of the packets between two hosts is lost."""

    key: ClassVar[str] = "packet_loss"
    proof: ClassVar[str] = "of datagrams between them, none was lost, this share is, and none again"
    example: ClassVar[str] = (
        "{packet_loss: {between: [sweep-master, sweep-worker], percent: 5}, "
        "when: {event: train.started, rank: 0, trial: 1}}"
    )

    percent: float = Field(ge=0.1, le=100, description="How many of a hundred are lost.")


class Delay(OneWayFault):
    """What two hosts send each other arrives later, in its order."""

    key: ClassVar[str] = "delay"
    harmless: ClassVar[bool] = True
    proof: ClassVar[str] = "how long datagrams between them took, take, and take again"
    example: ClassVar[str] = (
        "{delay: {between: [sweep-master, sweep-worker], by: 50ms, jitter: 10ms}, "
        "when: {event: train.started, rank: 0, trial: 1}}"
    )

    by: Duration = Field(le=10, description="How much later, each way.")
    jitter: Duration | None = Field(
        default=None, description="How much more or less than that, evenly. Default: none."
    )

    @model_validator(mode="after")
    def _is_later(self) -> Self:
        if self.jitter is not None and self.jitter > self.by:
            raise ValueError("expected a jitter of at most by: nothing arrives before it was sent")
        return self


class Bandwidth(OneWayFault):
    """What two hosts send each other passes a narrow link, before which half a second waits."""

    key: ClassVar[str] = "bandwidth"
    harmless: ClassVar[bool] = True
    proof: ClassVar[str] = "the rate at which datagrams between them arrived, arrive, and do again"
    example: ClassVar[str] = (
        "{bandwidth: {between: [sweep-master, sweep-worker], mbit: 10}, "
        "when: {event: train.started, rank: 0, trial: 1}}"
    )

    mbit: float = Field(ge=0.1, le=1000, description="Millions of bits a second, each way.")


class Reset(LinkFault):
    """Connections between two hosts are reset, each at its next segment, and none can be opened."""

    key: ClassVar[str] = "reset"
    healing: ClassVar[str] = "new connections can be opened"
    proof: ClassVar[str] = (
        "a connection between them answered, is reset at both ends, and a new one"
    )
    example: ClassVar[str] = (
        "{reset: {between: [sweep-master, sweep-worker]}, "
        "when: {event: train.step, rank: 1, trial: 1, step: 1}, until: {after: 500ms}}"
    )


class NoName(NetworkFault):
    """A host's name is not known any more on a node; what is connected stays so."""

    key: ClassVar[str] = "no_name"
    healing: ClassVar[str] = "it is known again"
    proof: ClassVar[str] = "the node's name server answered, says that there is none, answers again"
    example: ClassVar[str] = (
        "{no_name: {name: sweep-master, on: sweep-worker}, "
        "when: {event: handoff.received, node: sweep-worker, trial: 1}}"
    )

    name: HostName = Field(description="The host whose name it is.")
    on: NodeName = Field(description="The node that asks.")

    @property
    def hosts(self) -> tuple[tuple[tuple[str | int, ...], str], ...]:
        """The one that is named, and the one that asks."""
        return ((("name",), self.name), (("on",), self.on))

    @property
    def beside(self) -> tuple[str, ...]:
        """The one that asks."""
        return (self.on,)

    def __str__(self) -> str:
        return f"no name {self.name} on {self.on}"


class PortTaken(OneNode, NetworkFault):
    """Somebody listens on the port at which a trial's ranks want to meet, or on another one."""

    key: ClassVar[str] = "port_taken"
    healing: ClassVar[str] = "nobody does"
    proof: ClassVar[str] = "the port could be had on the node, can't, and can again"
    example: ClassVar[str] = (
        "{port_taken: {node: sweep-master}, when: {event: handoff.sent, trial: 1}}"
    )

    port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="The port. Default: the one in the trigger's event, as handoff.sent has it.",
    )

    def __str__(self) -> str:
        return f"port {self.port or 'of the rendezvous'} taken on {self.node}"
