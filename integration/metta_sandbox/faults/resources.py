"""Carrying out faults of what a node has to live on, through the limits of its container.

What the kernel counts is read as the node sees it, for control groups of version 2 and 1; see its
documentation's ``admin-guide/cgroup-v2.rst``, ``admin-guide/cgroup-v1/memory.rst`` and
``scheduler/sched-bwc.rst``.
"""

from __future__ import annotations

import signal
from typing import Any

from metta_sandbox.errors import StackError
from metta_sandbox.faults.code import EndRank
from metta_sandbox.faults.executor import Executor, Observed
from metta_sandbox.scenario.faults import Cpu, OutOfMemory
from metta_sandbox.words import many

_GROUPS = "/sys/fs/cgroup"
_USED = (f"{_GROUPS}/memory.current", f"{_GROUPS}/memory/memory.usage_in_bytes")
_LIMIT = (f"{_GROUPS}/memory.max", f"{_GROUPS}/memory/memory.limit_in_bytes")
_KILLS = (f"{_GROUPS}/memory.events", f"{_GROUPS}/memory/memory.oom_control")
_QUOTA = (f"{_GROUPS}/cpu.max", f"{_GROUPS}/cpu/cpu.cfs_quota_us")
_WAITED = (f"{_GROUPS}/cpu.stat", f"{_GROUPS}/cpu/cpu.stat")
#: Bytes that a node may use beyond what it does when its memory is limited.
_ROOM = 128 << 20
#: More of them than any machine has.
_ENDLESS = 1 << 50
#: Seconds that the rank gets to answer.
_ANSWER = 5.0
#: Microseconds over which the kernel adds up.
_PERIOD = 100_000


class ExhaustMemory(EndRank):
    """Limits a node's memory, and has a rank take more than is left."""

    said: OutOfMemory

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._kills = 0
        self._limit = 0

    @property
    def _host(self) -> str:
        return self.context.host_of(self.said.rank)

    @property
    def _wanted(self) -> int:
        return -int(signal.SIGKILL)

    def before(self) -> Observed:
        """See that the rank answers, and what was killed on its node before."""
        observed = super().before()
        self._kills = self._count()
        return Observed(
            observed.holds, f"{observed.seen}; {many(self._kills, 'kill')} on {self._host}"
        )

    def inject(self) -> None:
        """Limit the memory, and order the rank to take it."""
        self._limit = int(self.context.power.read(self._host, *_USED)) + _ROOM
        self._set(self._limit)
        # However it goes, the rank takes no more than what must be too much.
        order = {"do": self.said.key, "fault": self.name, "at_most": self._limit}
        self.context.order(self.said.rank, order, _ANSWER)

    def during(self) -> Observed:
        """See that the kernel has killed it."""
        observed = super().during()
        if self._status is None:
            # Whatever is started on the node now, to look at it, needs memory, too.
            return observed
        kills = self._count()
        told = f"{many(kills, 'kill')} on {self._host}, limited to {self._limit} bytes"
        return Observed(observed.holds and kills > self._kills, f"{observed.seen}; {told}")

    def heal(self) -> None:
        """Set a limit that no machine reaches: an engine can't take one back."""
        if self._limit:
            self._set(_ENDLESS)

    def after(self) -> Observed:
        """See that the limit is gone."""
        limit = self.context.power.read(self._host, *_LIMIT).strip()
        seen = f"{self._host} is limited to {limit} bytes"
        return Observed(limit == "max" or int(limit) >= _ENDLESS, seen)

    def _set(self, limit: int) -> None:
        self.context.power.limit(self._host, f"--memory={limit}", f"--memory-swap={limit}")

    def _count(self) -> int:
        return _field(self.context.power.read(self._host, *_KILLS), "oom_kill")


class ThrottleNode(Executor[Cpu]):
    """Gives a node a share of a processor."""

    #: It must have had something to do, and to wait for.
    patience = 60.0

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._quota = ""
        self._waited = 0

    def before(self) -> Observed:
        """See what it gets, and how often it was made to wait."""
        self._quota, self._waited = self._look()
        return Observed(holds=True, seen=self._words(self._quota, self._waited))

    def inject(self) -> None:
        """Set a quota."""
        self.context.power.limit(
            self.said.node,
            f"--cpu-period={_PERIOD}",
            f"--cpu-quota={round(self.said.share * _PERIOD)}",
        )

    def during(self) -> Observed:
        """See that it is another, and that the node was made to wait."""
        quota, waited = self._look()
        return Observed(quota != self._quota and waited > self._waited, self._words(quota, waited))

    def heal(self) -> None:
        """Let it have all processors, as all nodes have that nothing limits."""
        self.context.power.limit(self.said.node, "--cpu-quota=-1")

    def after(self) -> Observed:
        """See that the quota is as before."""
        quota, waited = self._look()
        return Observed(quota == self._quota, self._words(quota, waited))

    def _look(self) -> tuple[str, int]:
        read, node = self.context.power.read, self.said.node
        quota, *_ = read(node, *_QUOTA).split()
        return quota.replace("max", "-1"), _field(read(node, *_WAITED), "nr_throttled")

    def _words(self, quota: str, waited: int) -> str:
        gets = "all processors" if quota == "-1" else f"{int(quota) / _PERIOD:g} of a processor"
        return f"{self.said.node} gets {gets}, and was made to wait {waited} times"


def _field(text: str, name: str) -> int:
    """Read a number of a file of names and numbers.

    Raises:
        StackError: It is not there.

    """
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    raise StackError(f"the kernel says nothing of {name}")
