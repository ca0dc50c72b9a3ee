"""What faults of the network have in common: between the hosts that are named and nobody else."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import Field, field_validator

from metta_sandbox.errors import StackError
from metta_sandbox.scenario.base import NamedHosts
from metta_sandbox.scenario.faults.base import FaultKind
from metta_sandbox.scenario.faults.executor import Observed, StateExecutor
from metta_sandbox.scenario.hosts import HostName
from metta_sandbox.words import many

if TYPE_CHECKING:
    from metta_sandbox.stack.engines.sidecars import Sidecar

#: Datagrams that a look sends each way; as many at once as a socket holds.
_FEW, AT_ONCE = 10, 50
#: Bytes of one, and of the headers before them.
_SMALL, LARGE, HEADERS = 100, 1200, 28
#: Seconds until one that neither arrived nor was dropped is given up.
_SETTLING = 5.0
#: What a look at a connection or a name sees.
ANSWERS, NO_SUCH_NAME, RESET = "answers", "no such name", "ConnectionResetError"

_numbers = itertools.count(1)


class NetworkFault(FaultKind):
    """A fault that is carried out from beside its hosts, in their network."""

    family = "network"
    sidecar = "network"


class LinkFault(NetworkFault):
    """A fault of what two hosts send each other."""

    healing = "all that they send arrives as before"

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
    def hosts(self) -> NamedHosts:
        """Both hosts of the link."""
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


@dataclass(frozen=True)
class Crossing:
    """What became of datagrams from one host to another.

    Args:
        sent: How many there were.
        arrived: How many arrived.
        lost: How many were dropped by a fault where they arrived.
        delays: How long each took that arrived, in seconds.
        rate: At how many bits a second they went; 0 if that can't be told.

    """

    sent: int
    arrived: int
    lost: int
    delays: tuple[float, ...] = ()
    rate: float = 0.0

    @property
    def whole(self) -> bool:
        """Whether all datagrams have arrived."""
        return self.arrived == self.sent

    def __str__(self) -> str:
        return f"{self.arrived} of {self.sent} arrive{f', {self.lost} dropped' * bool(self.lost)}"


def cross(sender: Sidecar, receiver: Sidecar, count: int, size: int = _SMALL) -> Crossing:
    """Send datagrams from one host to another, and wait until each has arrived or was dropped."""
    arrived = lost = 0
    delays: list[float] = []
    rate = 0.0
    for left in range(count, 0, -AT_ONCE):
        batch = min(left, AT_ONCE)
        tag = f"{next(_numbers)}"
        sender.ask("send", to=receiver.datagrams(), tag=tag, count=batch, size=size)
        seen = receiver.ask("seen", _SETTLING, tag=tag, count=batch, within=_SETTLING)
        arrived, lost = arrived + seen["arrived"], lost + seen["lost"]
        delays += seen["delays"]
        if seen["span"] > 0:
            rate = seen["arrived"] * (size + HEADERS) * 8 / seen["span"]
    return Crossing(count, arrived, lost, tuple(delays), rate)


N = TypeVar("N", bound=NetworkFault)
L = TypeVar("L", bound=LinkFault)


class NetworkExecutor(StateExecutor[N]):
    """Carries out a fault from beside its hosts, in their network."""

    def sidecar(self, host: str) -> Sidecar:
        """Give the sidecar in a host's network.

        Raises:
            StackError: The host is no container, or its sidecar does not start.

        """
        if self.context.network is None:
            raise StackError("nobody can be beside a node that is no container")
        return self.context.network.beside(host)


class LinkExecutor(NetworkExecutor[L]):
    """Strikes what two hosts send each other, by a rule for packets where they arrive."""

    #: How many datagrams a look sends while nothing is wrong, and how large they are.
    count, size = _FEW, _SMALL
    #: How many packets the rule has struck, once it is out of force.
    _struck_packets = 0

    @property
    def rule(self) -> Mapping[str, Any]:
        """What happens to packets, as sidecars take it."""
        raise NotImplementedError

    def inject(self) -> None:
        """Put the rule in force wherever what is struck arrives."""
        for sender, receiver in self.said.directions:
            peers = [self.sidecar(sender).address]
            self.sidecar(receiver).ask("strike", name=self.name, peers=peers, **self.rule)

    def heal(self) -> None:
        """Put the rule out of force."""
        for _, receiver in self.said.directions:
            self._struck_packets += self.sidecar(receiver).ask("heal", name=self.name)

    def after(self) -> Observed:
        """Look whether all is well again, and tell how many packets were struck."""
        observed = super().after()
        struck = many(self._struck_packets, "packet")
        return Observed(observed.holds, f"{observed.seen}; {struck} struck in all")

    @property
    def struck_count(self) -> int:
        """How many datagrams it takes to show that packets are struck."""
        return self.count

    def is_well(self, crossing: Crossing) -> bool:
        """Tell whether datagrams crossed as they do when nothing is wrong."""
        return crossing.whole

    def is_struck(self, crossing: Crossing) -> bool:
        """Tell whether datagrams were struck as the scenario asks for."""
        raise NotImplementedError

    def told(self, crossing: Crossing) -> str:
        """Say in words how datagrams crossed."""
        return str(crossing)

    def look(self, *, struck: bool) -> Observed:
        """Send datagrams each way; those of a direction that the fault spares must all arrive."""
        holds, count = (self.is_struck, self.struck_count) if struck else (self.is_well, self.count)
        first, second = self.said.between
        good, seen = [], []
        for way in ((first, second), (second, first)):
            meant = way in self.said.directions
            sender, receiver = map(self.sidecar, way)
            crossing = cross(sender, receiver, count if meant else _FEW, self.size)
            good.append(holds(crossing) if meant else crossing.whole)
            seen.append(f"{' to '.join(way)}: {self.told(crossing)}")
        return Observed(all(good), ", ".join(seen))
