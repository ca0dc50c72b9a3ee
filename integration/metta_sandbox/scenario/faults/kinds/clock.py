"""A rank's wall clock is off."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, field_validator

from metta_sandbox.errors import StackError
from metta_sandbox.node.agent.messages import Order, Seen
from metta_sandbox.scenario.faults.executor import Executor, FaultPair, Observed
from metta_sandbox.scenario.faults.in_ranks import CodeFault, is_yet_to_start
from metta_sandbox.scenario.faults.nodes import RUNS, STANDS_STILL
from metta_sandbox.scenario.units import Shift, format_shift

#: Seconds by which a clock must be off, so that it can be told from one that is right.
_LEAST_SHIFT = 0.1
#: Seconds that a rank gets to start, or to look through all that it has loaded.
_PATIENCE = 60.0
#: Seconds after which it is looked whether a rank that does not answer has ended.
_SILENT = 1.0
_SECOND = 10**9
#: Nanoseconds by which the kernel's own clocks may differ from each other.
_SAME = _SECOND // 1000
#: Nanoseconds between two readings above which they tell nothing: half of what one is off at least.
_APART = _SECOND // 20


class ClockFault(CodeFault):
    """The wall clock of the trainer's process is off; its monotonic clocks are right."""

    key = "clock"
    harmless = True
    healing = "it is right again; that of a process that ends is gone with it"
    proof = (
        "the rank's wall clock was the kernel's, is off by this much, and is the kernel's again; "
        "its monotonic clock is the kernel's all the time"
    )
    example = (
        "{clock: {rank: 1, by: 1h}, when: {event: train.step, rank: 1, trial: 1, step: 1}, "
        "until: {after: 2s}}"
    )

    by: Shift = Field(description="How far it goes ahead; with a minus, behind.")

    @field_validator("by")
    @classmethod
    def _can_be_seen(cls, value: float) -> float:
        if abs(value) < _LEAST_SHIFT:
            raise ValueError("expected at least 100ms, ahead or behind")
        return value

    def __str__(self) -> str:
        way = "behind" if self.by < 0 else "ahead"
        return f"the clock of rank {self.rank} is {format_shift(abs(self.by))} {way}"


class ShiftClock(Executor[ClockFault]):
    """Lets the wall clock of a rank's process go ahead or behind."""

    patience = _PATIENCE
    #: The process that is struck.
    _pid = 0

    @property
    def _host(self) -> str:
        return self.context.host_of(self.said.rank)

    def waits_for(self, moment: Mapping[str, Any]) -> bool:
        """Tell whether the rank may be yet to start: it did not set the fault off itself."""
        return is_yet_to_start(self.said.rank, moment)

    def before(self) -> Observed:
        """See that the rank's clocks are right."""
        told = self.context.order(self.said.rank, {"do": "clocks"}, _PATIENCE)
        found = self.context.trainer(self.said.rank)
        self._pid = int(found["pid"]) if found is not None else 0
        return self._judge(told, 0)

    def inject(self) -> None:
        """Set the rank's wall clock ahead or behind."""
        self.context.order(self.said.rank, self._order(self._ahead), _PATIENCE)

    def during(self) -> Observed:
        """See that the rank's wall clock is off by as much."""
        told = self.context.order(self.said.rank, {"do": "clocks"}, _PATIENCE)
        return self._judge(told, self._ahead)

    def heal(self) -> None:
        """Set the wall clock right again."""
        self._ask(self._order(0))

    def after(self) -> Observed:
        """See that the wall clock is right again, or that its process has ended."""
        told = self._ask({"do": "clocks"})
        if told is None:
            who = f"the process of rank {self.said.rank}"
            return Observed(holds=True, seen=f"{who} has ended, and its clock with it")
        return self._judge(told, 0)

    def _order(self, ahead: int) -> Order:
        return {"do": "clock", "fault": self.name, "ahead": ahead}

    @property
    def _ahead(self) -> int:
        return round(self.said.by * _SECOND)

    def _judge(self, told: Seen, ahead: int) -> Observed:
        """Hold both clocks against where they must be; what is read at once needs no leeway."""
        wall, monotonic = told["wall"], told["monotonic"]
        holds = _is(wall, ahead) and _is(monotonic, 0) and wall[1] - wall[0] < _APART
        return Observed(
            holds,
            f"rank {self.said.rank}'s wall clock is {_in_words(wall)}, "
            f"its monotonic clock {_in_words(monotonic)}",
        )

    def _ask(self, order: Order) -> Seen | None:
        """Give the struck process an order; None if the process has ended."""
        deadline = time.monotonic() + _PATIENCE
        while self._lives():
            try:
                return self.context.order(self.said.rank, order, _SILENT)
            except StackError:
                if time.monotonic() > deadline:
                    raise
        return None

    def _lives(self) -> bool:
        if self.context.power.state(self._host) not in (RUNS, STANDS_STILL):
            return False
        found = self.context.trainer(self.said.rank)
        return found is not None and found["pid"] == self._pid and found["status"] is None


def _is(bounds: Sequence[int], ahead: int) -> bool:
    low, high = bounds
    return low - _SAME <= ahead <= high + _SAME


def _in_words(bounds: Sequence[int]) -> str:
    """Say how far a clock is from the kernel's."""
    off = sum(bounds) / 2 / _SECOND
    return "right" if _is(bounds, 0) else f"{abs(off):.3f} s {'behind' if off < 0 else 'ahead'}"


FAULT = FaultPair(ClockFault, ShiftClock)
