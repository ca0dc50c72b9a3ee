from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import pytest

from metta_sandbox.interrupt import Bell, Interrupted, heed, interruptible, uninterrupted
from metta_sandbox.play.parallel import ParallelPlay
from metta_sandbox.play.schedule import Room, Schedule
from metta_sandbox.play.turn import Turn

PATIENCE = 30.0


class Troupe:
    """Plays as many as asked, each with a function of its own."""

    def __init__(self, room: Room, *parts: Callable[[Turn], str]) -> None:
        self.parts = parts
        self.begun: list[int] = []
        self.taken: list[tuple[int, str]] = []
        schedule = Schedule([1] * len(parts), [set()] * len(parts), room)
        self.playing = ParallelPlay(schedule, self._play, self.begun.append, self._take)

    def _play(self, index: int, turn: Turn) -> str:
        return self.parts[index](turn)

    def _take(self, index: int, outcome: str) -> None:
        self.taken.append((index, outcome))


def wait(event: threading.Event) -> None:
    assert event.wait(PATIENCE)


def test_two_jobs_work_at_once() -> None:
    meet = threading.Barrier(2, timeout=PATIENCE)

    def part(turn: Turn) -> str:
        turn.begin()
        meet.wait()
        return "met"

    troupe = Troupe(Room(jobs=2, ahead=0), part, part)
    troupe.playing.run()
    assert sorted(troupe.taken) == [(0, "met"), (1, "met")]


def test_the_next_comes_up_while_one_works_and_works_while_that_one_leaves() -> None:
    up, works, order = threading.Event(), threading.Event(), []

    def first(turn: Turn) -> str:
        turn.begin()
        wait(up)
        assert not works.is_set()
        order.append("first worked")
        turn.end()
        wait(works)
        return "gone"

    def second(turn: Turn) -> str:
        up.set()
        assert turn.begin() >= 0
        order.append("second works")
        works.set()
        return "gone"

    Troupe(Room(jobs=1, ahead=1), first, second).playing.run()
    assert order == ["first worked", "second works"]


def test_an_error_of_ours_ends_the_run_once_those_beside_it_are_done() -> None:
    other, broken = threading.Event(), threading.Event()

    def breaks(_: Turn) -> str:
        wait(other)
        broken.set()
        raise KeyError("ours")

    def goes_on(turn: Turn) -> str:
        turn.begin()
        other.set()
        wait(broken)
        return "done"

    troupe = Troupe(Room(jobs=2, ahead=0), breaks, goes_on, goes_on)
    with pytest.raises(KeyError):
        troupe.playing.run()
    assert (troupe.begun, troupe.taken) == ([0, 1], [(1, "done")])


def test_ctrl_c_reaches_who_works_and_who_waits_and_all_outcomes_are_taken() -> None:
    waiting = threading.Event()

    def works(turn: Turn) -> str:
        turn.begin()
        wait(waiting)
        os.kill(os.getpid(), signal.SIGINT)
        return until_interrupted()

    def waits(turn: Turn) -> str:
        waiting.set()
        try:
            turn.begin()
        except Interrupted:
            return "never worked"
        return "worked"

    troupe = Troupe(Room(jobs=1, ahead=1), works, waits, works)
    with pytest.raises(KeyboardInterrupt), interruptible():
        troupe.playing.run()
    assert troupe.begun == [0, 1]
    assert troupe.taken == [(0, "interrupted"), (1, "never worked")]


def until_interrupted() -> str:
    pause = threading.Event()
    while True:
        pause.wait(0.01)
        try:
            heed()
        except Interrupted:
            # What follows is tidying up, which nothing cuts off.
            heed()
            return "interrupted"


def test_a_bell_is_put_off_while_something_must_not_be_interrupted() -> None:
    bell, said = Bell(), []

    def work() -> None:
        with bell.heard():
            try:
                with uninterrupted():
                    with uninterrupted():
                        bell.ring()
                        heed()
                    said.append("done")
            except Interrupted:
                said.append("interrupted")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(PATIENCE)
    assert said == ["done", "interrupted"]


def test_nothing_is_heard_where_nobody_listens() -> None:
    Bell().ring()
    heed()
