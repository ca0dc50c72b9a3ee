"""Carrying out faults of the network from beside its hosts, and seeing what gets through."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import fmean
from typing import Any, TypeVar

from metta_sandbox.errors import StackError
from metta_sandbox.faults.executor import Executor, Observed
from metta_sandbox.scenario.faults import (
    Bandwidth,
    Delay,
    FaultItem,
    LinkFault,
    NetworkFault,
    NoName,
    PacketLoss,
    Partition,
    PortTaken,
    Reset,
)
from metta_sandbox.stack.engines.base import Stack
from metta_sandbox.stack.engines.sidecars import NetworkSidecar, Sidecars
from metta_sandbox.words import many
from metta_sandbox.words import time as words_for

N = TypeVar("N", bound=NetworkFault)
L = TypeVar("L", bound=LinkFault)

#: Datagrams that a look sends each way; as many at once as a socket holds.
_FEW, _AT_ONCE = 10, 50
#: Bytes of one, and of the headers before them.
_SMALL, _LARGE, _HEADERS = 100, 1200, 28
#: Seconds until one that neither arrived nor was dropped is given up.
_SETTLING = 5.0
#: How many must be lost on average for a share to be told, and how many standard deviations off it
#: may be: less often than once in a million.
_LOSSES, _DEVIATIONS = 20, 5
#: Seconds of a narrow link that a burst fills: less than waits before it.
_BURST = 0.3
_BURSTS = 5
#: Docker's name server, as a node sees it.
_RESOLVER = "127.0.0.11"
_ANSWERS, _NO_SUCH_NAME, _RESET = "answers", "no such name", "ConnectionResetError"

_numbers = itertools.count(1)


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
    for left in range(count, 0, -_AT_ONCE):
        batch = min(left, _AT_ONCE)
        tag = f"{next(_numbers)}"
        sender.ask("send", to=receiver.datagrams(), tag=tag, count=batch, size=size)
        seen = receiver.ask("seen", _SETTLING, tag=tag, count=batch, within=_SETTLING)
        arrived, lost = arrived + seen["arrived"], lost + seen["lost"]
        delays += seen["delays"]
        if seen["span"] > 0:
            rate = seen["arrived"] * (size + _HEADERS) * 8 / seen["span"]
    return Crossing(count, arrived, lost, tuple(delays), rate)


def sidecars_of(stack: Stack, faults: Iterable[FaultItem]) -> Sidecars[NetworkSidecar] | None:
    """Have somebody beside the hosts whose network is struck; None if there can't be anybody.

    Where one does not start, its faults will say why.
    """
    sidecars = stack.network()
    if sidecars is None:
        return None
    said = (fault.said for fault in faults)
    with suppress(StackError):
        sidecars.start(
            [host for each in said if isinstance(each, NetworkFault) for host in each.beside]
        )
    return sidecars


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


class CutLink(LinkExecutor[Partition]):
    """Drops everything."""

    rule: Mapping[str, Any] = {"kind": "loss", "share": 1.0}

    def is_struck(self, crossing: Crossing) -> bool:
        """Nothing arrives, and that is the fault's doing."""
        return crossing.arrived == 0 and crossing.lost == crossing.sent


class LosePackets(LinkExecutor[PacketLoss]):
    """Drops some."""

    @property
    def rule(self) -> Mapping[str, Any]:
        """What happens to packets."""
        return {"kind": "loss", "share": self.said.percent / 100}

    @property
    def struck_count(self) -> int:
        """So many that some will be lost for certain."""
        return math.ceil(_LOSSES * 100 / self.said.percent)

    def is_struck(self, crossing: Crossing) -> bool:
        """As many are lost as was asked for, within what chance allows."""
        share = self.said.percent / 100
        off = abs(crossing.lost - crossing.sent * share)
        allowed = _DEVIATIONS * math.sqrt(crossing.sent * share * (1 - share))
        return 0 < crossing.lost == crossing.sent - crossing.arrived and off <= allowed


class DelayPackets(LinkExecutor[Delay]):
    """Delivers later."""

    @property
    def rule(self) -> Mapping[str, Any]:
        """What happens to packets."""
        return {"kind": "delay", "by": self.said.by, "jitter": self.said.jitter or 0.0}

    @property
    def floor(self) -> float:
        """What a mean of some delays is above, unless chance plays a trick."""
        return self.said.by - (self.said.jitter or 0.0) / 2

    def is_well(self, crossing: Crossing) -> bool:
        """One at least is faster; a machine that has much to do may be as slow with others."""
        return crossing.whole and min(crossing.delays) < self.floor

    def is_struck(self, crossing: Crossing) -> bool:
        """They are as late as was asked for."""
        return crossing.whole and fmean(crossing.delays) >= self.floor

    def told(self, crossing: Crossing) -> str:
        """Say how long they took."""
        if not crossing.delays:
            return str(crossing)
        shortest, mean = min(crossing.delays), fmean(crossing.delays)
        return f"{words_for(round(mean, 6))} (least {words_for(round(shortest, 6))})"


class NarrowLink(LinkExecutor[Bandwidth]):
    """Lets so much pass."""

    size = _LARGE

    @property
    def rule(self) -> Mapping[str, Any]:
        """What happens to packets."""
        return {"kind": "rate", "bits": self.said.mbit * 1e6}

    @property
    def count(self) -> int:  # type: ignore[override]
        """What fills the narrow link for a while."""
        fitting = int(self.said.mbit * 1e6 * _BURST / ((_LARGE + _HEADERS) * 8))
        return min(max(fitting, 4), _AT_ONCE)

    def look_well(self) -> Observed:
        """One burst in time is enough: a machine that has much to do is slow by itself."""
        for _ in range(_BURSTS):
            observed = super().look_well()
            if observed.holds:
                break
        return observed

    def is_well(self, crossing: Crossing) -> bool:
        """More passes than the narrow link would let."""
        return crossing.rate > self.said.mbit * 1e6

    def is_struck(self, crossing: Crossing) -> bool:
        """No more passes than it lets."""
        return 0 < crossing.rate <= self.said.mbit * 1e6

    def told(self, crossing: Crossing) -> str:
        """Say how much passed."""
        return f"{crossing.rate / 1e6:.3g} Mbit/s"


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
        return Observed(self._answer == _RESET and _RESET in ended, seen)

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
        return Observed(answer == _ANSWERS, seen)

    def _ends(self) -> Sequence[NetworkSidecar]:
        return [self.sidecar(host) for host in self.said.between]


class ForgetName(NetworkExecutor[NoName]):
    """Has a node's name server say that there is no such name."""

    def before(self) -> Observed:
        """See that it is known."""
        return self._look(_ANSWERS)

    def inject(self) -> None:
        """Change what the name server says of it."""
        self._on.ask("strike", name=self.name, peers=[_RESOLVER], kind="no name", of=self.said.name)

    def during(self) -> Observed:
        """See that it is not."""
        return self._look(_NO_SUCH_NAME)

    def heal(self) -> None:
        """Let the answers be."""
        self._on.ask("heal", name=self.name)

    def after(self) -> Observed:
        """See that it is known again."""
        return self._look(_ANSWERS)

    @property
    def _on(self) -> NetworkSidecar:
        return self.sidecar(self.said.on)

    def _look(self, wanted: str) -> Observed:
        answer = self._on.ask("lookup", name=self.said.name)
        return Observed(answer == wanted, f"{self.said.name} on {self.said.on}: {answer}")


class TakePort(NetworkExecutor[PortTaken]):
    """Listens on a port of a node before others do."""

    @property
    def port(self) -> int:
        """The port.

        Raises:
            StackError: Nothing says which.

        """
        port = self.said.port or self.moment.get("port")
        if not isinstance(port, int):
            raise StackError("what set it off names no port, as handoff.sent does")
        return port

    def before(self) -> Observed:
        """See that it can be had."""
        return self._look(free=True)

    def inject(self) -> None:
        """Listen on it."""
        self._node.ask("take", port=self.port)

    def during(self) -> Observed:
        """See that nobody else can have it."""
        return self._look(free=False)

    def heal(self) -> None:
        """Give it back."""
        self._node.ask("release", port=self.port)

    def after(self) -> Observed:
        """See that it can be had again."""
        return self._look(free=True)

    @property
    def _node(self) -> NetworkSidecar:
        return self.sidecar(self.said.node)

    def _look(self, *, free: bool) -> Observed:
        found = self._node.ask("free", port=self.port)
        seen = f"port {self.port} of {self.said.node} {'can' if found else 'can not'} be had"
        return Observed(found is free, seen)
