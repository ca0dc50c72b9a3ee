"""A node runs out of memory."""

from __future__ import annotations

import signal

from metta_sandbox.node.agent.messages import Order
from metta_sandbox.scenario.faults.cgroups import GROUPS, field
from metta_sandbox.scenario.faults.executor import FaultPair, Observed
from metta_sandbox.scenario.faults.in_ranks import ANSWER, CodeFault, EndRank
from metta_sandbox.words import many

_USED = (f"{GROUPS}/memory.current", f"{GROUPS}/memory/memory.usage_in_bytes")
_LIMIT = (f"{GROUPS}/memory.max", f"{GROUPS}/memory/memory.limit_in_bytes")
_KILLS = (f"{GROUPS}/memory.events", f"{GROUPS}/memory/memory.oom_control")
#: Bytes that a node may use beyond what it does when its memory is limited.
_ROOM = 128 << 20
#: More of them than any machine has.
_ENDLESS = 1 << 50


class OutOfMemoryFault(CodeFault):
    """The node's memory is limited, and the trainer takes more than is left."""

    key = "out_of_memory"
    family = "resources"
    in_containers = True
    healing = "the node's memory is no longer limited"
    proof = (
        "the rank's process ran, and has ended by SIGKILL, and the kernel has counted one kill more"
    )
    example = "{out_of_memory: {rank: 1}, when: {event: train.step, rank: 1, trial: 1, step: 1}}"


class ExhaustMemory(EndRank[OutOfMemoryFault]):
    """Limits a node's memory, and has a rank take more than is left."""

    #: How many kills the kernel had counted before, and the limit that was set, in bytes.
    _kills = 0
    _limit = 0

    @property
    def _host(self) -> str:
        return self.context.host_of(self.said.rank)

    @property
    def wanted(self) -> int:
        """The status of a process that the kernel kills."""
        return -int(signal.SIGKILL)

    def before(self) -> Observed:
        """See that the rank answers, and count what the kernel has killed on its node so far."""
        observed = super().before()
        self._kills = self._count()
        return Observed(
            observed.holds, f"{observed.seen}; {many(self._kills, 'kill')} on {self._host}"
        )

    def inject(self) -> None:
        """Limit the node's memory, and order the rank to take more."""
        self._limit = int(self.context.power.read(self._host, *_USED)) + _ROOM
        self._set(self._limit)
        # However it goes, the rank takes no more than what must be too much.
        order: Order = {"do": "out_of_memory", "fault": self.name, "at_most": self._limit}
        self.context.order(self.said.rank, order, ANSWER)

    def during(self) -> Observed:
        """See that the kernel has killed the rank."""
        observed = super().during()
        if self.status is None:
            # Whatever is started on the node now, to look at it, needs memory, too.
            return observed
        kills = self._count()
        told = f"{many(kills, 'kill')} on {self._host}, limited to {self._limit} bytes"
        return Observed(observed.holds and kills > self._kills, f"{observed.seen}; {told}")

    def heal(self) -> None:
        """Set a limit that no machine reaches: an engine can't remove a limit."""
        if self._limit:
            self._set(_ENDLESS)

    def after(self) -> Observed:
        """See that the node's memory is no longer limited."""
        limit = self.context.power.read(self._host, *_LIMIT).strip()
        seen = f"{self._host} is limited to {limit} bytes"
        return Observed(limit == "max" or int(limit) >= _ENDLESS, seen)

    def _set(self, limit: int) -> None:
        self.context.power.limit(self._host, f"--memory={limit}", f"--memory-swap={limit}")

    def _count(self) -> int:
        return field(self.context.power.read(self._host, *_KILLS), "oom_kill")


FAULT = FaultPair(OutOfMemoryFault, ExhaustMemory)
