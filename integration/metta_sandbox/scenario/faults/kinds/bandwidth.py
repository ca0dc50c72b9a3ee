"""A link is narrow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from metta_sandbox.scenario.faults.executor import FaultPair, Observed
from metta_sandbox.scenario.faults.networks import (
    AT_ONCE,
    HEADERS,
    LARGE,
    Crossing,
    LinkExecutor,
    OneWayFault,
)

#: Seconds of a narrow link that a burst fills: less than waits before it.
_BURST = 0.3
_BURSTS = 5


class BandwidthFault(OneWayFault):
    """What two hosts send each other passes a narrow link, before which half a second waits."""

    key = "bandwidth"
    harmless = True
    proof = "the rate at which datagrams between them arrived, arrive, and do again"
    example = (
        "{bandwidth: {between: [sweep-master, sweep-worker], mbit: 10}, "
        "when: {event: train.started, rank: 0, trial: 1}}"
    )

    mbit: float = Field(ge=0.1, le=1000, description="Millions of bits a second, each way.")


class NarrowLink(LinkExecutor[BandwidthFault]):
    """Lets no more through than a narrow link would."""

    size = LARGE

    @property
    def rule(self) -> Mapping[str, Any]:
        """The rate at which packets are let through."""
        return {"kind": "rate", "bits": self.said.mbit * 1e6}

    @property
    def count(self) -> int:  # type: ignore[override]
        """How many datagrams fill the narrow link for a while."""
        fitting = int(self.said.mbit * 1e6 * _BURST / ((LARGE + HEADERS) * 8))
        return min(max(fitting, 4), AT_ONCE)

    def look(self, *, struck: bool) -> Observed:
        """Send bursts until one shows that all is well: a busy machine is slow by itself."""
        observed = super().look(struck=struck)
        for _ in range(_BURSTS - 1):
            if struck or observed.holds:
                break
            observed = super().look(struck=False)
        return observed

    def is_well(self, crossing: Crossing) -> bool:
        """Tell whether more passed than the narrow link would let through."""
        return crossing.rate > self.said.mbit * 1e6

    def is_struck(self, crossing: Crossing) -> bool:
        """Tell whether something passed, and no more than the link lets through."""
        return 0 < crossing.rate <= self.said.mbit * 1e6

    def told(self, crossing: Crossing) -> str:
        """Say at which rate datagrams crossed."""
        return f"{crossing.rate / 1e6:.3g} Mbit/s"


FAULT = FaultPair(BandwidthFault, NarrowLink)
