"""Slow is not hung: who is at work is waited for, and who hangs is not."""

from __future__ import annotations

import pytest

from metta_sandbox.autopsy.case import Case
from metta_sandbox.autopsy.progress import gets_on
from metta_sandbox.autopsy.seen import Frame, NodeLook, Process, Thread
from metta_sandbox.timeline.recording import Event

HOSTS = ("sweep-master", "sweep-worker")
TORCH = "/usr/lib/python3.11/site-packages/torch"
OWN = Frame(function="main", file="/work/train.py", line=9, source="x = x * x")
WAITS = (Frame(function="all_reduce", file=f"{TORCH}/distributed/distributed_c10d.py", line=1), OWN)
IMPORTS = (Frame(function="_find_spec", file="<frozen importlib._bootstrap>", line=1), OWN)
COMPILES = (Frame(function="lower", file=f"{TORCH}/_dynamo/x.py", line=1), OWN)
SLEEPS = (Frame(function="main", file="/work/train.py", line=9, source="time.sleep(9)"),)


def case(*stacks: tuple[tuple[Frame, ...], bool], load: float = 1.0) -> Case:
    events, looks = [], {}
    for rank, (frames, moved) in enumerate(stacks):
        told = {"event": "rank.started", "group": "trial-1", "rank": rank, "node": HOSTS[rank]}
        events.append(Event(1.0, {**told, "process": 100 + rank}))
        thread = Thread(name="MainThread", id=100 + rank, frames=frames, moved=moved)
        process = Process(pid=100 + rank, threads=(thread,))
        looks[HOSTS[rank]] = NodeLook(processes=(process,), load=load)
    return Case(HOSTS, 1, events, 1, looks=looks)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((IMPORTS, True), (IMPORTS, True)),
        (((OWN,), True), ((OWN,), True)),
        ((WAITS, False), (IMPORTS, True)),
        ((WAITS, False), (COMPILES, True)),
    ],
    ids=["all import", "all compute", "one imports", "one compiles"],
)
def test_who_starts_or_works_while_nobody_hangs_is_waited_for(
    one: tuple[tuple[Frame, ...], bool], other: tuple[tuple[Frame, ...], bool]
) -> None:
    assert "rank 1 (sweep-worker) is at" in gets_on(case(one, other), 2, 0)


@pytest.mark.parametrize("stack", [(SLEEPS, False), (WAITS, False), ((OWN,), True)])
def test_who_hangs_or_is_waited_for_in_its_own_code_is_not(
    stack: tuple[tuple[Frame, ...], bool],
) -> None:
    assert not gets_on(case((WAITS, False), stack), 2, 0)


def test_on_a_crowded_machine_own_code_is_waited_for_once() -> None:
    seen = case((WAITS, False), ((OWN,), True), load=30.0)
    assert "the load is 30 on 2 processors" in gets_on(seen, 2, 0)
    assert not gets_on(seen, 2, 1)
