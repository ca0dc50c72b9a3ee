"""A node has little of a processor."""

from __future__ import annotations

from pydantic import Field

from metta_sandbox.scenario.faults.base import OneNode
from metta_sandbox.scenario.faults.cgroups import GROUPS, field
from metta_sandbox.scenario.faults.executor import Executor, FaultPair, Observed

_QUOTA = (f"{GROUPS}/cpu.max", f"{GROUPS}/cpu/cpu.cfs_quota_us")
_WAITED = (f"{GROUPS}/cpu.stat", f"{GROUPS}/cpu/cpu.stat")
#: Microseconds over which the kernel adds up.
_PERIOD = 100_000


class CpuFault(OneNode):
    """The node gets a share of one processor and no more."""

    key = "cpu"
    harmless = True
    family = "resources"
    in_containers = True
    trigger = "may"
    healing = "it gets what it got before"
    proof = (
        "the kernel's quota of the node, and that it has been made to wait for it; and the quota "
        "of before again"
    )
    example = (
        "{cpu: {node: sweep-worker, share: 0.1}, "
        "when: {event: train.step, rank: 1, trial: 1, step: 1}, until: {after: 2s}}"
    )

    share: float = Field(
        default=0.1, ge=0.01, le=64, description="Of one processor's time. Default: 0.1."
    )

    def __str__(self) -> str:
        return f"{self.node} gets {self.share:g} of a processor"


class ThrottleNode(Executor[CpuFault]):
    """Gives a node a share of a processor."""

    #: It must have had something to do, and to wait for.
    patience = 60.0
    #: What the kernel said before: the quota, and how often the node was made to wait.
    _quota = ""
    _waited = 0

    def before(self) -> Observed:
        """Keep the node's quota, and how often it was made to wait."""
        self._quota, self._waited = self._look()
        return Observed(holds=True, seen=self._words(self._quota, self._waited))

    def inject(self) -> None:
        """Set the node's quota."""
        self.context.power.limit(
            self.said.node,
            f"--cpu-period={_PERIOD}",
            f"--cpu-quota={round(self.said.share * _PERIOD)}",
        )

    def during(self) -> Observed:
        """See that the quota is another, and that the node was made to wait."""
        quota, waited = self._look()
        return Observed(quota != self._quota and waited > self._waited, self._words(quota, waited))

    def heal(self) -> None:
        """Let the node have all processors, as nodes without a limit have."""
        self.context.power.limit(self.said.node, "--cpu-quota=-1")

    def after(self) -> Observed:
        """See that the quota is as before."""
        quota, waited = self._look()
        return Observed(quota == self._quota, self._words(quota, waited))

    def _look(self) -> tuple[str, int]:
        read, node = self.context.power.read, self.said.node
        quota, *_ = read(node, *_QUOTA).split()
        return quota.replace("max", "-1"), field(read(node, *_WAITED), "nr_throttled")

    def _words(self, quota: str, waited: int) -> str:
        gets = "all processors" if quota == "-1" else f"{int(quota) / _PERIOD:g} of a processor"
        return f"{self.said.node} gets {gets}, and was made to wait {waited} times"


FAULT = FaultPair(CpuFault, ThrottleNode)
