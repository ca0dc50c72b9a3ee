"""What sets a rank's clock off, and what its probes take for proof."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from metta_sandbox.errors import StackError
from metta_sandbox.scenario.faults.kinds import clock as module
from metta_sandbox.scenario.faults.kinds.clock import ClockFault, ShiftClock

SECOND = 10**9
HOUR = 3600 * SECOND


class Rank:
    """A rank on a node, which takes orders while it lives."""

    def __init__(self) -> None:
        self.ahead = 0
        self.monotonic = 0
        self.width = 300
        self.status: int | None = None
        self.node = "runs"
        self.deaf = 0

    def order(self, _rank: int, order: Mapping[str, Any], _patience: float) -> dict[str, Any]:
        if self.status is not None or self.node != "runs":
            raise StackError("rank 1 takes no orders")
        if self.deaf:
            self.deaf -= 1
            raise StackError("rank 1 did not answer within 1 s")
        if order["do"] == "clock":
            self.ahead = order["ahead"]
            return {}
        return {
            clock: [ahead - self.width // 2, ahead + self.width // 2]
            for clock, ahead in (("wall", self.ahead), ("monotonic", self.monotonic))
        }

    def state(self, _host: str) -> str:
        return self.node

    def trainer(self, _rank: int) -> dict[str, Any]:
        if self.node != "runs":
            raise StackError("no agent of node sweep-worker is connected")
        return {"rank": 1, "pid": 7, "status": self.status}

    def executor(self, by: float = 3600.0) -> ShiftClock:
        context: Any = SimpleNamespace(
            order=self.order,
            trainer=self.trainer,
            power=self,
            host_of=lambda _: "sweep-worker",
        )
        return ShiftClock("f", ClockFault(rank=1, by=by), context)


@pytest.mark.parametrize(("by", "words"), [(3600.0, "3600.000 s ahead"), (-0.5, "0.500 s behind")])
def test_it_goes_off_by_so_much_and_is_right_again(by: float, words: str) -> None:
    executor = Rank().executor(by)

    assert executor.before().holds
    assert not executor.during().holds
    executor.inject()
    observed = executor.during()
    assert observed.holds
    assert f"wall clock is {words}, its monotonic clock right" in observed.seen
    assert not executor.after().holds
    executor.heal()
    executor.heal()
    assert executor.after().holds


@pytest.mark.parametrize(
    ("ahead", "monotonic", "width"),
    [
        (HOUR - SECOND, 0, 300),
        (-HOUR, 0, 300),
        (HOUR, HOUR, 300),
        # Nothing is told by clocks that were read far apart.
        (HOUR, 0, SECOND),
    ],
)
def test_another_time_is_no_proof(ahead: int, monotonic: int, width: int) -> None:
    rank = Rank()
    executor = rank.executor()
    executor.inject()
    rank.ahead, rank.monotonic, rank.width = ahead, monotonic, width

    assert not executor.during().holds


def test_a_clock_that_was_off_before_is_told() -> None:
    rank = Rank()
    rank.ahead = HOUR

    assert not rank.executor().before().holds


@pytest.mark.parametrize("way", ["its process ends", "its node is lost"])
def test_a_clock_is_gone_with_its_process(way: str) -> None:
    rank = Rank()
    executor = rank.executor()
    executor.before()
    executor.inject()
    if way == "its process ends":
        rank.status = 0
    else:
        rank.node = "was killed by signal 9"
    executor.heal()

    observed = executor.after()
    assert observed.holds
    assert observed.seen == "the process of rank 1 has ended, and its clock with it"


def test_a_rank_that_is_slow_to_answer_is_asked_again_and_one_that_never_does_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rank = Rank()
    executor = rank.executor()
    executor.before()
    executor.inject()
    rank.deaf = 3
    executor.heal()
    assert executor.after().holds

    monkeypatch.setattr(module, "_PATIENCE", -1.0)
    rank.deaf = 3
    with pytest.raises(StackError, match="did not answer"):
        executor.after()


def test_a_rank_that_is_yet_to_start_is_waited_for() -> None:
    executor = Rank().executor()

    assert executor.waits_for({"event": "train.step", "rank": 0, "trial": 1})
    assert not executor.waits_for({"event": "train.step", "rank": 1, "trial": 1})
