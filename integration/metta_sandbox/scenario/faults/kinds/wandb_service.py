"""W&B's service is killed."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from metta_sandbox.scenario.faults.base import FaultKind
from metta_sandbox.scenario.faults.executor import Executor, FaultPair, Message, Observed

if TYPE_CHECKING:
    from metta_sandbox.faults.context import FaultContext


class WandbServiceFault(FaultKind):
    """The process that writes W&B's runs on rank 0's node is killed."""

    key = "wandb_service"
    family = "processes"
    proof = "wandb-core ran on the node, and has ended"
    voids = frozenset({"W&B runs"})
    example = "{wandb_service: {}, when: {event: handoff.sent, trial: 2}}"

    def __str__(self) -> str:
        return "W&B's service is killed"


class KillWandbService(Executor[WandbServiceFault]):
    """Kills the processes that write W&B's runs on rank 0's node."""

    hears_all = True
    _pids: Sequence[int] = ()

    def __init__(self, name: str, said: WandbServiceFault, context: FaultContext) -> None:
        super().__init__(name, said, context)
        self._named: set[int] = set()
        self._tracked: set[int] = set()

    def take(self, message: Message) -> None:
        """Note which trials have a run, and which of those W&B writes."""
        record = message.get("record", {})
        noted = {"run.named": self._named, "tracking.started": self._tracked}
        if record.get("event") in noted and isinstance(record.get("trial"), int):
            noted[record["event"]].add(record["trial"])

    def must_follow(self, moment: Mapping[str, Any]) -> str | None:
        """Wait for the trial's run: W&B begins it while training has begun already."""
        waits = moment.get("trial") in self._named - self._tracked
        return "tracking.started" if waits else None

    def before(self) -> Observed:
        """See that the processes run."""
        self._pids = self._live()
        return Observed(bool(self._pids), f"wandb-core runs as {self._pids or 'no process'}")

    def inject(self) -> None:
        """Kill the processes."""
        for pid in self._pids:
            self.context.ask(self._host, "signal-process", pid=pid, signal=signal.SIGKILL)

    def during(self) -> Observed:
        """See that the processes have ended."""
        left = [pid for pid in self._pids if pid in self._live()]
        return Observed(not left and bool(self._pids), f"of {self._pids} live {left or 'none'}")

    @property
    def _host(self) -> str:
        return self.context.plan.hosts[0]

    def _live(self) -> list[int]:
        return [
            each["pid"]
            for each in self.context.processes(self._host)
            if "wandb-core" in each["command"] and each["state"] != "Z"
        ]


FAULT = FaultPair(WandbServiceFault, KillWandbService)
