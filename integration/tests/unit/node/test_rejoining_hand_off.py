"""Hand-offs of nodes that come and go: all that counts was told to everybody who is there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import partialmethod
from typing import Any

import pytest
import torch.distributed as dist

from metta_sandbox.node.handoff import HandOff, Outcome
from metta_sandbox.node.rejoin import RejoiningGroup
from metta_sandbox.node.view import NodeView

NODES = 3
OVER = HandOff(9, "", {}, "", 0)


def trial(number: int) -> HandOff:
    return HandOff(number, f"x.r.{number}", {"a": number}, "w", 1)


def view(rank: int) -> NodeView:
    values: dict[str, Any] = dict.fromkeys(NodeView.__dataclass_fields__, "")
    values.update(host=f"n{rank}", node_rank=rank, num_nodes=NODES, master_port=1)
    return NodeView(**values)


class LostError(Exception):
    """A node is killed at this point."""


class Sweep:
    """Nodes, each on a thread, with one store, and broadcasts that go by way of it."""

    def __init__(self) -> None:
        self.store = dist.HashStore()  # type: ignore[attr-defined]
        self.pool = ThreadPoolExecutor(2 * NODES)
        #: By rank, what becomes of its broadcasts, first to last; then they are all right.
        self.fates: dict[int, deque[type[Exception]]] = {rank: deque() for rank in range(NODES)}

    def group(self, rank: int) -> RejoiningGroup:
        return RejoiningGroup(view(rank), 20)

    def broadcast(
        self, group: Any, name: str, sent: HandOff | None, _timeout: timedelta
    ) -> HandOff:
        if fates := self.fates[group._view.node_rank]:
            raise fates.popleft()
        return sent or trial(int(group._said(f"trial-of-{name.rpartition('-')[2]}")))

    def hand_off(self, group: RejoiningGroup, sent: HandOff | None = None) -> Future[HandOff]:
        return self.pool.submit(group.hand_off, 1, sent)


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sweep]:
    made = Sweep()
    monkeypatch.setattr(dist, "TCPStore", lambda *_, **__: made.store)
    monkeypatch.setattr(RejoiningGroup, "_broadcast", partialmethod(_by_way_of, made))
    yield made
    made.pool.shutdown(cancel_futures=True)


@contextmanager
def _by_way_of(group: RejoiningGroup, made: Sweep, *told: Any) -> Iterator[HandOff]:
    yield made.broadcast(group, *told)


def results(futures: list[Future[HandOff]]) -> list[HandOff]:
    return [each.result(timeout=60) for each in futures]


def test_all_get_what_rank_0_sends_and_leave_together(sweep: Sweep) -> None:
    groups = [sweep.group(rank) for rank in range(NODES)]

    for sent in (trial(1), trial(2), OVER):
        told = [sent, None, None]
        assert results([sweep.hand_off(*each) for each in zip(groups, told, strict=True)]) == [
            sent
        ] * len(groups)


def test_a_broadcast_that_broke_anywhere_is_made_again_for_all(sweep: Sweep) -> None:
    groups = [sweep.group(rank) for rank in range(NODES)]
    sweep.fates[0].append(RuntimeError)
    sweep.fates[2].extend([RuntimeError, RuntimeError])
    told = [trial(1), None, None]

    got = results([sweep.hand_off(*each) for each in zip(groups, told, strict=True)])

    assert got == [trial(1)] * len(groups)


def lose(sweep: Sweep, groups: list[RejoiningGroup], rank: int) -> None:
    """Have a node be lost in its next broadcast."""
    sweep.fates[rank].append(LostError)
    with pytest.raises(LostError):
        sweep.hand_off(groups[rank]).result(timeout=60)


def test_one_that_is_lost_in_a_hand_off_is_told_in_the_next_and_has_lost_nothing(
    sweep: Sweep,
) -> None:
    groups = [sweep.group(rank) for rank in range(NODES)]
    waiting = [sweep.hand_off(groups[0], trial(1)), sweep.hand_off(groups[1])]
    lose(sweep, groups, 2)

    waiting.append(sweep.pool.submit(lambda: sweep.group(2).hand_off(1, None)))

    assert results(waiting) == [trial(1)] * len(groups)
    assert groups[0].failure(1) is None


def test_one_that_is_lost_before_a_hand_off_is_awaited_there(sweep: Sweep) -> None:
    groups = [sweep.group(rank) for rank in range(NODES)]
    waiting = [sweep.hand_off(groups[0], trial(1)), sweep.hand_off(groups[1])]

    waiting.append(sweep.pool.submit(lambda: sweep.group(2).hand_off(1, None)))

    assert results(waiting) == [trial(1)] * len(groups)
    assert groups[0].failure(1) is None


def test_one_that_is_lost_in_a_trial_says_so_and_waits_for_the_next(sweep: Sweep) -> None:
    groups = [sweep.group(rank) for rank in range(NODES)]
    told = [trial(1), None, None]
    results([sweep.hand_off(*each) for each in zip(groups, told, strict=True)])

    groups[2] = sweep.group(2)

    assert groups[0].failure(1) == "n2 was lost, and has come back"
    for rank in (0, 1):
        groups[rank].tell(1, Outcome(rank, {rank: -15}, ""))
    assert [each.reason for each in groups[0].outcomes(1)][1:] == [
        "",
        "n2 was lost, and has come back",
    ]
    told[0] = trial(2)
    got = results([sweep.hand_off(*each) for each in zip(groups, told, strict=True)])
    assert got == [trial(2)] * len(groups)


def test_one_that_is_lost_after_it_has_told_how_a_trial_ended_does_not_fail_it(
    sweep: Sweep,
) -> None:
    groups = [sweep.group(rank) for rank in range(NODES)]
    told = [trial(1), None, None]
    results([sweep.hand_off(*each) for each in zip(groups, told, strict=True)])
    groups[2].tell(1, Outcome(2, {2: 0}, ""))

    sweep.group(2)

    assert groups[0].failure(1) is None


@pytest.mark.parametrize("began", [0, 1])
def test_one_that_comes_back_when_all_is_over_leaves(sweep: Sweep, began: int) -> None:
    groups = [sweep.group(rank) for rank in range(NODES)]
    for number in range(1, began + 1):
        told = [trial(number), None, None]
        results([sweep.hand_off(*each) for each in zip(groups, told, strict=True)])
    waiting = [sweep.hand_off(groups[0], OVER), sweep.hand_off(groups[1])]

    waiting.append(sweep.pool.submit(lambda: sweep.group(2).hand_off(1, None)))

    assert results(waiting) == [OVER] * len(groups)


def test_one_that_never_comes_is_not_waited_for_for_ever(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = sweep.group(0)
    monkeypatch.setattr(group, "_patience", 0.0)
    hand_off: Callable[..., HandOff] = group.hand_off

    with pytest.raises(TimeoutError, match="in vain for nodes for a trial"):
        hand_off(1, trial(1))
