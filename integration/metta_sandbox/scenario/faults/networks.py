"""What faults of the network have in common: between the hosts that are named and nobody else."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import Field, field_validator

from metta_sandbox.errors import StackError
from metta_sandbox.scenario.faults.base import FaultKind
from metta_sandbox.scenario.faults.executor import Executor, Observed
from metta_sandbox.scenario.hosts import HostName
from metta_sandbox.words import many

if TYPE_CHECKING:
    from metta_sandbox.stack.engines.sidecars import NetworkSidecar

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
        """Whether all have arrived."""
        return self.arrived == self.sent

    def __str__(self) -> str:
        return f"{self.arrived} of {self.sent} arrive{f', {self.lost} dropped' * bool(self.lost)}"


def cross(
    sender: NetworkSidecar, receiver: NetworkSidecar, count: int, size: int = _SMALL
) -> Crossing:
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


class NetworkExecutor(Executor[N]):
    """A fault that is carried out beside hosts."""

    def sidecar(self, host: str) -> NetworkSidecar:
        """Give what is beside a host.

        Raises:
            StackError: Nobody can be there.

        """
        if self.context.network is None:
            raise StackError("nobody can be beside a node that is no container")
        return self.context.network.beside(host)


class LinkExecutor(NetworkExecutor[L]):
    """A fault of what hosts send each other."""

    #: How many datagrams a look sends while nothing is wrong, and how large they are.
    count, size = _FEW, _SMALL

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._struck = 0

    @property
    def rule(self) -> Mapping[str, Any]:
        """What happens to their packets."""
        raise NotImplementedError

    def inject(self) -> None:
        """Put the rule in force wherever what is struck arrives."""
        for sender, receiver in self.said.directions:
            peers = [self.sidecar(sender).address]
            self.sidecar(receiver).ask("strike", name=self.name, peers=peers, **self.rule)

    def heal(self) -> None:
        """Put it out of force."""
        for _, receiver in self.said.directions:
            self._struck += self.sidecar(receiver).ask("heal", name=self.name)

    def before(self) -> Observed:
        """See that all is well."""
        return self.look_well()

    def after(self) -> Observed:
        """See that all is well again."""
        observed = self.look_well()
        return Observed(
            observed.holds, f"{observed.seen}; {many(self._struck, 'packet')} struck in all"
        )

    def during(self) -> Observed:
        """See that it is not, in the directions that are struck, and is in the others."""
        return self.look(self.is_struck, self.struck_count)

    def look_well(self) -> Observed:
        """Look whether nothing is wrong."""
        return self.look(self.is_well, self.count)

    @property
    def struck_count(self) -> int:
        """How many datagrams show it."""
        return self.count

    def is_well(self, crossing: Crossing) -> bool:
        """Tell whether nothing is wrong with what was sent."""
        return crossing.whole

    def is_struck(self, crossing: Crossing) -> bool:
        """Tell whether what was sent is struck as it must be."""
        raise NotImplementedError

    def told(self, crossing: Crossing) -> str:
        """Say what was seen."""
        return str(crossing)

    def look(self, holds: Any, count: int) -> Observed:
        """Send datagrams each way; those that are not struck must arrive."""
        first, second = self.said.between
        good, seen = [], []
        for way in ((first, second), (second, first)):
            struck = way in self.said.directions
            sender, receiver = map(self.sidecar, way)
            crossing = cross(sender, receiver, count if struck else _FEW, self.size)
            good.append(holds(crossing) if struck else crossing.whole)
            seen.append(f"{' to '.join(way)}: {self.told(crossing)}")
        return Observed(all(good), ", ".join(seen))
