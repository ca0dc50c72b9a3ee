"""Packets get lost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from metta_sandbox.scenario.faults.executor import FaultPair
from metta_sandbox.scenario.faults.networks import Crossing, LinkExecutor, OneWayFault

#: How many must be lost on average for a share to be told, and how many standard deviations off it
#: may be: less often than once in a million.
_LOSSES, _DEVIATIONS = 20, 5


class PacketLossFault(OneWayFault):
    """A share of the packets between two hosts is lost."""

    key = "packet_loss"
    proof = "of datagrams between them, none was lost, this share is, and none again"
    example = (
        "{packet_loss: {between: [sweep-master, sweep-worker], percent: 5}, "
        "when: {event: train.started, rank: 0, trial: 1}}"
    )

    percent: float = Field(ge=0.1, le=100, description="How many of a hundred are lost.")


class LosePackets(LinkExecutor[PacketLossFault]):
    """Drops a share of the packets."""

    @property
    def rule(self) -> Mapping[str, Any]:
        """The share of packets that is dropped."""
        return {"kind": "loss", "share": self.said.percent / 100}

    @property
    def struck_count(self) -> int:
        """So many datagrams that some are lost for certain."""
        return math.ceil(_LOSSES * 100 / self.said.percent)

    def is_struck(self, crossing: Crossing) -> bool:
        """Tell whether as many were lost as was asked for, within what chance allows."""
        share = self.said.percent / 100
        off = abs(crossing.lost - crossing.sent * share)
        allowed = _DEVIATIONS * math.sqrt(crossing.sent * share * (1 - share))
        return 0 < crossing.lost == crossing.sent - crossing.arrived and off <= allowed


FAULT = FaultPair(PacketLossFault, LosePackets)
