"""What faults inside a rank's trainer have in common, through what was put into its interpreter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar, cast

from pydantic import Field

from metta_sandbox.node.agent.messages import Order
from metta_sandbox.scenario.faults.base import Family, FaultKind
from metta_sandbox.scenario.faults.executor import EventExecutor, Message, Observed
from metta_sandbox.words import ended

#: Seconds that a rank gets to answer, if it runs; and if it may yet have to start.
ANSWER, _START = 5.0, 60.0
#: Seconds after which a rank that does not answer counts as one that can't.
SILENT = 1.0


class CodeFault(FaultKind):
    """A fault that is carried out by what the launcher injects into one rank's interpreter."""

    family: ClassVar[Family] = "code"

    rank: int = Field(ge=0, description="The rank.")

    @property
    def target_rank(self) -> int | None:
        """The rank that is struck."""
        return self.rank

    @property
    def injected_rank(self) -> int | None:
        """The rank into whose interpreter code is put."""
        return self.rank

    def __str__(self) -> str:
        return f"{self.key.replace('_', ' ')} on rank {self.rank}"


def is_yet_to_start(rank: int, moment: Mapping[str, Any]) -> bool:
    """Tell whether a rank may not be there when somebody emits what sets its fault off."""
    return moment.get("rank") != rank or "trial" not in moment


F = TypeVar("F", bound=CodeFault)


class InCode(EventExecutor[F]):
    """Orders a rank to fail in some way; the rank tells when it does."""

    patience = 60.0

    def waits_for(self, moment: Mapping[str, Any]) -> bool:
        """Tell whether the rank may be yet to start: it did not set the fault off itself."""
        return is_yet_to_start(self.said.rank, moment)

    def before(self) -> Observed:
        """See that the rank answers, and says where its main thread is."""
        patience = _START if self.waits_for(self.moment) else ANSWER
        place = self.context.order(self.said.rank, {"do": "look"}, patience)["main"]
        return Observed(holds=True, seen=f"rank {self.said.rank} answers, in {place}")

    def inject(self) -> None:
        """Give the rank the order."""
        parameters = self.said.model_dump(exclude={"rank"})
        order = {"do": self.said.key, "fault": self.name, **parameters}
        self.context.order(self.said.rank, cast("Order", order), ANSWER)

    def during(self) -> Observed:
        """See that the rank has told of the fault."""
        if self.happened is None:
            return Observed(holds=False, seen="nothing has happened in it")
        return self.judge(self.happened)

    def judge(self, happened: Mapping[str, Any]) -> Observed:
        """Judge whether what the rank told of is what was asked for."""
        raise NotImplementedError


class EndRank(InCode[F]):
    """Orders a rank's process to end."""

    #: How the process has ended, if it has.
    status: int | None = None

    @property
    def wanted(self) -> int:
        """The status with which the process must end, negative for a signal."""
        raise NotImplementedError

    def take(self, message: Message) -> None:
        """Keep how the rank's process has ended, too."""
        super().take(message)
        ended = message["type"] == "rank-exited" and message["rank"] == self.said.rank
        if ended and self.status is None:
            self.status = message["status"]

    def during(self) -> Observed:
        """See that the rank's process has ended with that status."""
        if self.status is None:
            return Observed(holds=False, seen=f"rank {self.said.rank} has not ended")
        seen = f"rank {self.said.rank} {ended(self.status)}"
        return Observed(self.status == self.wanted and self.happened is not None, seen)
