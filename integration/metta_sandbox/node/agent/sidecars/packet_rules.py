"""What becomes of packets while a fault of the network lasts. Pure, but for chance."""

import math
import random
from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Tuple

from metta_sandbox.node.agent.sidecars.segments import resets, unresolved

#: Seconds of packets that wait for a narrow link; what comes then is dropped.
_LONGEST_LINE = 0.5


@dataclass(frozen=True)
class Fate:
    """What becomes of a packet.

    Attributes:
        at: When it is delivered, by ``time.monotonic``; infinity if it never is.
        payload: What is delivered in its place, if anything is.
        reply: What is sent back, if anything is.
        struck: Whether anything was done to it at all.

    """

    at: float
    payload: Optional[bytes] = None
    reply: Optional[bytes] = None
    struck: bool = True

    @property
    def lost(self) -> bool:
        """Whether nothing of it is delivered."""
        return self.at == math.inf


class Rule:
    """What happens to what arrives from some addresses."""

    def fate(self, data: bytes, at: float) -> Fate:
        """Decide.

        Args:
            data: The packet, from its IPv4 header on.
            at: When it would be delivered without this rule.

        """
        raise NotImplementedError


class Loss(Rule):
    """A share of the packets is lost; all of them, if it is 1."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._chance = random.Random()  # noqa: S311 - no secret

    def fate(self, data: bytes, at: float) -> Fate:  # noqa: ARG002 - of any packet
        """Draw."""
        lost = self._chance.random() < self._share
        return Fate(math.inf) if lost else Fate(at, struck=False)


class Delay(Rule):
    """Packets are late, by as much as is drawn evenly around a mean, and stay in their order."""

    def __init__(self, by: float, jitter: float) -> None:
        self._by, self._jitter = by, jitter
        self._last = 0.0
        self._chance = random.Random()  # noqa: S311 - no secret

    def fate(self, data: bytes, at: float) -> Fate:  # noqa: ARG002 - of any packet
        """Draw."""
        drawn = self._by + self._chance.uniform(-self._jitter, self._jitter)
        self._last = max(self._last, at + drawn)
        return Fate(self._last)


class Rate(Rule):
    """Packets go one behind the other, so many bits a second; those beyond a line are lost."""

    def __init__(self, bits: float) -> None:
        self._bits = bits
        self._free = 0.0

    def fate(self, data: bytes, at: float) -> Fate:
        """Deliver the packet after those before it, at the link's rate, or drop it."""
        begins = max(self._free, at)
        if begins - at > _LONGEST_LINE:
            return Fate(math.inf)
        self._free = begins + len(data) * 8 / self._bits
        return Fate(self._free)


class Reset(Rule):
    """Connections are reset on both of their sides, as soon as a segment of them arrives."""

    def fate(self, data: bytes, at: float) -> Fate:
        """Replace the packet by resets to both of its ends."""
        made = resets(data)
        if made is None:
            return Fate(at, struck=False)
        here, back = made
        return Fate(math.inf if here is None else at, here, back)


class NoName(Rule):
    """A name server says of a name that it is not there."""

    def __init__(self, name: str) -> None:
        self._name = name

    def fate(self, data: bytes, at: float) -> Fate:
        """Replace a name server's answer about the name by a refusal."""
        answer = unresolved(data, self._name)
        return Fate(at, answer, struck=answer is not None)


def rule_of(said: Mapping[str, Any]) -> Rule:
    """Make a rule of what was ordered: ``kind``, and what that kind takes."""
    kind = said["kind"]
    if kind == "loss":
        return Loss(said["share"])
    if kind == "delay":
        return Delay(said["by"], said["jitter"])
    if kind == "rate":
        return Rate(said["bits"])
    if kind == "no name":
        return NoName(said["of"])
    if kind == "reset":
        return Reset()
    raise ValueError("there is no rule like {}".format(kind))


@dataclass
class Active:
    """A rule in force, and how many packets it has struck."""

    peers: Tuple[str, ...]
    rule: Rule
    struck: int = 0


def fate_of(rules: Dict[str, Active], source: str, data: bytes, now: float) -> Fate:
    """Lead a packet through all rules for its source, one after another.

    Args:
        rules: In force, by fault.
        source: Where it comes from.
        data: The packet.
        now: The time, by ``time.monotonic``.

    """
    at, payload, reply = now, None, None
    for active in rules.values():
        if source not in active.peers:
            continue
        fate = active.rule.fate(payload or data, at)
        active.struck += fate.struck
        at, payload, reply = fate.at, fate.payload or payload, fate.reply or reply
        if fate.lost:
            break
    return Fate(at, payload, reply)
