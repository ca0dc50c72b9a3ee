"""A rank is started with other overrides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import Field

from metta_sandbox.scenario.base import Misfit
from metta_sandbox.scenario.faults.executor import EventExecutor, FaultPair, Observed
from metta_sandbox.scenario.faults.in_ranks import CodeFault
from metta_sandbox.scenario.faults.trigger import Trigger
from metta_sandbox.scenario.values import Value
from metta_sandbox.scenario.workload import Workload


class OtherOverridesFault(CodeFault):
    """The rank is started with other overrides than were handed off."""

    key = "overrides"
    trigger = "none"
    proof = "what the rank was started with is not what was handed off"
    voids = frozenset({"digests"})
    example = "{overrides: {rank: 1, trial: 2, values: {trainer.optimizer.learning_rate: 0.5}}}"

    trial: int = Field(ge=1, description="In this trial.")
    values: dict[str, Value] = Field(min_length=1, description="The others, by dotted key.")

    @property
    def injected_rank(self) -> int | None:
        """None: its node's rollout starts it so."""
        return None

    def overrides_of(self, rank: int, trial: int) -> Mapping[str, Value]:
        """Give the values to this rank in this trial, and none to others."""
        return self.values if (rank, trial) == (self.rank, self.trial) else {}

    def misplaced(self, _when: Trigger | None, workload: Workload) -> Iterator[Misfit]:
        """Refuse ranks that have no command, or no file, of their own."""
        if workload.trainer.ranks_per_node > 1:
            yield (self.key, "rank"), "all ranks of a node are started with the same command"
        if workload.trainer.overrides_style == "file":
            yield (self.key,), "all ranks read their overrides from one file"


class StartOtherwise(EventExecutor[OtherOverridesFault]):
    """Has a rank started with other overrides; its node's rollout does so by itself."""

    hears_all = True

    def by_itself(self, _when: Trigger | None) -> bool:
        """Leave the moment to the rollout."""
        return True

    def before(self) -> Observed:
        """Take as given that the rank is not started yet."""
        return Observed(holds=True, seen="the rollout is to start it otherwise")

    def inject(self) -> None:
        """Do nothing: the rollout has the scenario, and starts the rank so."""

    def during(self) -> Observed:
        """See that what was handed off, and what was started, differ as they should."""
        if self.happened is None:
            return Observed(holds=False, seen="the rank was not started otherwise")
        sent, own = self.happened.get("handed_off"), self.happened.get("started_with")
        return Observed(sent != own == self.said.values, f"handed off {sent}, started with {own}")


FAULT = FaultPair(OtherOverridesFault, StartOtherwise)
