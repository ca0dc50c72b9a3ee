"""What the order of a timeline must respect, whatever order entries were received in."""

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metta_sandbox.timeline.order import CAUSAL_PAIRS, Merge, needs_of

Event: TypeAlias = dict[str, Any]


def ordered(events: Sequence[Event]) -> list[Event]:
    numbered = enumerate(events)
    return list(Merge[Event](needs_of(events)).run(numbered))


def sweep_of(nodes: int, trials: int, repeats: set[int]) -> list[list[Event]]:
    """What each process of a sweep emits, in its order; some trials are played twice."""
    emitted: dict[str, list[Event]] = defaultdict(list)

    def emit(process: str, event: str, **fields: Any) -> None:
        node = process.split("/", maxsplit=1)[0]
        emitted[process].append({"event": event, "node": node, **fields})

    names = [
        f"s.r.{trial}" for trial in range(1, trials + 1) for _ in range(1 + (trial in repeats))
    ]
    for trial, run in enumerate(names, 1):
        emit("n0/rollout", "suggestion.made", trial=trial)
        emit("n0/rollout", "run.named", trial=trial, run=run)
        emit("n0/rollout", "handoff.sent", trial=trial, run=run)
        for rank in range(nodes):
            emit(f"n{rank}/rollout", "handoff.received", trial=trial, run=run)
            rank_process = f"n{rank}/rank-{trial}"
            emit(rank_process, "train.started", trial=trial, run=run, rank=rank)
            emit(rank_process, "train.step", trial=trial, run=run, rank=rank)
            emit(rank_process, "train.finished", trial=trial, run=run, rank=rank)
        emit("n0/rollout", "eval.finished", trial=trial, run=run)
        emit("n0/rollout", "observation.recorded", trial=trial, run=run)
    for pid, events in enumerate(emitted.values(), 100):
        for seq, event in enumerate(events, 1):
            event.update(pid=pid, seq=seq)
    return list(emitted.values())


def shuffled(streams: Sequence[Sequence[Event]], seed: int) -> list[Event]:
    """Receive them in any order that keeps each process's own."""
    chance = random.Random(seed)
    queues = [list(stream) for stream in streams]
    received = []
    while queues:
        queue = chance.choice(queues)
        received.append(queue.pop(0))
        queues = [queue for queue in queues if queue]
    return received


@settings(deadline=None, max_examples=200)
@given(
    nodes=st.integers(1, 4),
    trials=st.integers(1, 4),
    repeats=st.sets(st.integers(1, 4)),
    seed=st.integers(0, 2**32),
)
def test_any_receipt_order_ends_in_one_that_respects_emitters_and_causes(
    nodes: int, trials: int, repeats: set[int], seed: int
) -> None:
    received = shuffled(sweep_of(nodes, trials, repeats), seed)

    result = ordered(received)

    assert sorted(map(id, result)) == sorted(map(id, received))
    last: dict[tuple[Any, Any], int] = defaultdict(int)
    for event in result:
        emitter = event["node"], event["pid"]
        assert event["seq"] == last[emitter] + 1
        last[emitter] = event["seq"]
    for pair in CAUSAL_PAIRS:
        counts: dict[tuple[Any, ...], int] = defaultdict(int)
        for event in result:
            key = tuple(event.get(field) for field in pair.same)
            if event["event"] == pair.cause:
                counts[key] += 1
            elif event["event"] == pair.effect:
                who = (key, event["node"], event.get("rank"))
                counts[who] += 1
                assert counts[who] <= counts[key]


@settings(deadline=None)
@given(nodes=st.integers(1, 3), trials=st.integers(1, 3), seed=st.integers(0, 2**32))
def test_an_order_that_respects_everything_is_left_alone(
    nodes: int, trials: int, seed: int
) -> None:
    once = ordered(shuffled(sweep_of(nodes, trials, set()), seed))

    assert ordered(once) == once


def test_what_is_no_event_keeps_its_place() -> None:
    events: list[dict[str, Any]] = [
        {"event": "b", "node": "n", "pid": 1, "seq": 2},
        {"event": "a", "node": "n", "pid": 1, "seq": 1},
    ]
    items = [(None, "x"), (0, "b"), (None, "y"), (1, "a"), (None, "z")]

    assert list(Merge[str](needs_of(events)).run(items)) == ["x", "y", "a", "b", "z"]


def test_a_trial_played_again_pairs_its_second_cause_with_the_second_effect() -> None:
    def event(name: str, pid: int, seq: int) -> Event:
        node = "master" if pid == 1 else "worker"
        return {"event": name, "trial": 1, "run": "r", "node": node, "pid": pid, "seq": seq}

    received = [
        event("handoff.received", 2, 1),
        event("handoff.sent", 1, 1),
        event("handoff.received", 2, 2),
        event("handoff.sent", 1, 2),
    ]

    assert [(e["event"], e["seq"]) for e in ordered(received)] == [
        ("handoff.sent", 1),
        ("handoff.received", 1),
        ("handoff.sent", 2),
        ("handoff.received", 2),
    ]


def test_a_reused_process_id_is_a_new_emitter() -> None:
    events = [
        {"event": e, "node": "n", "pid": 7, "seq": seq}
        for e, seq in [("old", 1), ("old", 2), ("new", 1), ("new", 2)]
    ]

    assert ordered(events) == events


@pytest.mark.timeout(10)
def test_needs_that_contradict_one_another_lose_no_event_and_keep_the_emitters_order() -> None:
    events = [
        {"event": "handoff.received", "run": "r", "node": "n", "pid": 1, "seq": 1},
        {"event": "handoff.sent", "run": "r", "node": "n", "pid": 1, "seq": 2},
        {"event": "run.named", "run": "r", "node": "n", "pid": 1, "seq": 3},
    ]

    assert [event["seq"] for event in ordered(events)] == [1, 2, 3]
