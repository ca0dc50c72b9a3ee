"""Carrying out faults inside a rank's trainer, through what was put into its interpreter."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any, ClassVar

from metta_sandbox.errors import StackError
from metta_sandbox.faults.executor import Message, Observed, Telling
from metta_sandbox.scenario.faults import CodeFault, Exit, OtherOverrides, Raise, Segfault
from metta_sandbox.stack.ends import describe_end

#: Seconds that a rank gets to answer, if it runs; and if it may yet have to start.
_ANSWER = 5.0
_START = 60.0
#: Seconds after which a rank that does not answer counts as one that can't.
_SILENT = 1.0


def is_yet_to_start(rank: int, moment: Mapping[str, Any]) -> bool:
    """Tell whether a rank may not be there when somebody emits what sets its fault off."""
    return moment.get("rank") != rank or "trial" not in moment


class InCode(Telling[CodeFault]):
    """Orders a fault of a rank, which tells when it happens."""

    patience = 60.0

    def waits_for(self, moment: Mapping[str, Any]) -> bool:
        """One that another rank, or no rank, set off may strike a rank that is yet to start."""
        return is_yet_to_start(self.said.rank, moment)

    def before(self) -> Observed:
        """See that the rank answers, and says where its main thread is."""
        patience = _START if self.waits_for(self.moment) else _ANSWER
        place = self.context.order(self.said.rank, {"do": "look"}, patience)["main"]
        return Observed(holds=True, seen=f"rank {self.said.rank} answers, in {place}")

    def inject(self) -> None:
        """Order it."""
        parameters = self.said.model_dump(exclude={"rank"})
        order = {"do": self.said.key, "fault": self.name, **parameters}
        self.context.order(self.said.rank, order, _ANSWER)

    def during(self) -> Observed:
        """See that it has happened."""
        if self.happened is None:
            return Observed(holds=False, seen="nothing has happened in it")
        return self.judge(self.happened)

    def judge(self, happened: Mapping[str, Any]) -> Observed:
        """Say whether what happened is what was asked for."""
        raise NotImplementedError


class RaiseInRank(InCode):
    """Raises in the main thread."""

    said: Raise

    def judge(self, happened: Mapping[str, Any]) -> Observed:
        """See that the exception was made."""
        seen = f"{happened.get('raised')} raised at {happened.get('at')}"
        return Observed(happened.get("raised") == self.said.exception, seen)


class EndRank(InCode):
    """Ends the process."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._status: int | None = None

    @property
    def _wanted(self) -> int:
        return self.said.status if isinstance(self.said, Exit) else -int(signal.SIGSEGV)

    def take(self, message: Message) -> None:
        """Keep the rank's end, too."""
        super().take(message)
        ended = message["type"] == "rank-exited" and message["rank"] == self.said.rank
        if ended and self._status is None:
            self._status = message["status"]

    def during(self) -> Observed:
        """See that it has ended so."""
        if self._status is None:
            return Observed(holds=False, seen=f"rank {self.said.rank} has not ended")
        seen = f"rank {self.said.rank} {describe_end(self._status)}"
        return Observed(self._status == self._wanted and self.happened is not None, seen)


class SegfaultInRank(EndRank):
    """Reads memory that is not there."""

    said: Segfault


class SleepInRank(InCode):
    """Lets the main thread sleep for ever."""

    def judge(self, _happened: Mapping[str, Any]) -> Observed:
        """See that its stack ends there."""
        place = str(self.context.order(self.said.rank, {"do": "look"}, _SILENT)["main"])
        return Observed(place.startswith("_sleep_for_ever"), f"its main thread is in {place}")


class HoldLockInRank(InCode):
    """Keeps the interpreter's lock."""

    def judge(self, _happened: Mapping[str, Any]) -> Observed:
        """See that the process lives and does not answer."""
        rank = self.said.rank
        try:
            place = self.context.order(rank, {"do": "look"}, _SILENT)["main"]
        except StackError as error:
            found = self.context.trainer(rank)
            lives = found is not None and found["status"] is None
            state = "lives" if lives else "has ended"
            return Observed(
                lives and "did not answer" in str(error), f"rank {rank} {state}: {error}"
            )
        return Observed(holds=False, seen=f"rank {rank} still answers, in {place}")


class Poison(InCode):
    """Makes gradients NaN."""

    def judge(self, happened: Mapping[str, Any]) -> Observed:
        """They are, and were not."""
        before, now = happened.get("nan_before"), happened.get("nan")
        seen = f"of {happened.get('gradients')} gradients {before} had NaN, then {now}, at step "
        return Observed(before == 0 and bool(now), f"{seen}{happened.get('step')} of the optimizer")


class Skip(InCode):
    """Leaves a collective out."""

    def judge(self, happened: Mapping[str, Any]) -> Observed:
        """One was called."""
        return Observed(bool(happened.get("skipped")), f"left out {happened.get('skipped')}")


class StartOtherwise(Telling[OtherOverrides]):
    """Has a rank started with other overrides; its node's rollout does so by itself."""

    by_itself: ClassVar[bool] = True

    def before(self) -> Observed:
        """Nothing is started yet."""
        return Observed(holds=True, seen="the rollout is to start it otherwise")

    def inject(self) -> None:
        """Leave it to the rollout, which has the scenario."""

    def during(self) -> Observed:
        """See that what was handed off, and what was started, differ as they should."""
        if self.happened is None:
            return Observed(holds=False, seen="the rank was not started otherwise")
        sent, own = self.happened.get("handed_off"), self.happened.get("started_with")
        return Observed(sent != own == self.said.values, f"handed off {sent}, started with {own}")
