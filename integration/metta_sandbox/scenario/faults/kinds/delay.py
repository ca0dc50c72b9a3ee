"""Packets arrive later."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from pydantic import Field, model_validator
from typing_extensions import Self

from metta_sandbox.scenario.faults.executor import FaultPair
from metta_sandbox.scenario.faults.networks import Crossing, LinkExecutor, OneWayFault
from metta_sandbox.scenario.units import Duration
from metta_sandbox.words import time


class DelayFault(OneWayFault):
    """What two hosts send each other arrives later, in its order."""

    key = "delay"
    harmless = True
    proof = "how long datagrams between them took, take, and take again"
    example = (
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


class DelayPackets(LinkExecutor[DelayFault]):
    """Delivers packets later."""

    @property
    def rule(self) -> Mapping[str, Any]:
        """How much later packets are delivered."""
        return {"kind": "delay", "by": self.said.by, "jitter": self.said.jitter or 0.0}

    @property
    def floor(self) -> float:
        """The mean delay in seconds above which datagrams count as delayed."""
        return self.said.by - (self.said.jitter or 0.0) / 2

    def is_well(self, crossing: Crossing) -> bool:
        """Tell whether at least one datagram was faster; a busy machine may be slow with others."""
        return crossing.whole and min(crossing.delays) < self.floor

    def is_struck(self, crossing: Crossing) -> bool:
        """Tell whether datagrams arrive as late as was asked for."""
        return crossing.whole and fmean(crossing.delays) >= self.floor

    def told(self, crossing: Crossing) -> str:
        """Say how long datagrams took."""
        if not crossing.delays:
            return str(crossing)
        shortest, mean = min(crossing.delays), fmean(crossing.delays)
        return f"{time(round(mean, 6))} (least {time(round(shortest, 6))})"


FAULT = FaultPair(DelayFault, DelayPackets)
