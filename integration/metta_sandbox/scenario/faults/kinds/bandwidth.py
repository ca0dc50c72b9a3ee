"""A link is narrow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from metta_sandbox.scenario.faults.executor import Observed, Registered
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


class Bandwidth(OneWayFault):
    """What two hosts send each other passes a narrow link, before which half a second waits."""

    key = "bandwidth"
    harmless = True
    proof = "the rate at which datagrams between them arrived, arrive, and do again"
    example = (
        "{bandwidth: {between: [sweep-master, sweep-worker], mbit: 10}, "
        "when: {event: train.started, rank: 0, trial: 1}}"
    )

    mbit: float = Field(ge=0.1, le=1000, description="Millions of bits a second, each way.")


class NarrowLink(LinkExecutor[Bandwidth]):
    """Lets so much pass."""

    size = LARGE

    @property
    def rule(self) -> Mapping[str, Any]:
        """What happens to packets."""
        return {"kind": "rate", "bits": self.said.mbit * 1e6}

    @property
    def count(self) -> int:  # type: ignore[override]
        """What fills the narrow link for a while."""
        fitting = int(self.said.mbit * 1e6 * _BURST / ((LARGE + HEADERS) * 8))
        return min(max(fitting, 4), AT_ONCE)

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


FAULT = Registered(Bandwidth, NarrowLink)
