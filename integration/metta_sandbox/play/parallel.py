"""Scenarios played beside each other: each in a thread, its stack coming up and going meanwhile.

Only the main thread decides who does what, and hears signals. It never waits for anything but
messages, through a queue that an exception raised by a signal cannot leave in disorder.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from metta_sandbox.interrupt import Bell, heed, uninterrupted
from metta_sandbox.play.schedule import Schedule
from metta_sandbox.play.turn import Turn

#: Seconds between two looks at whether the run was interrupted.
_HEED = 0.1

Outcome = TypeVar("Outcome")
#: Plays the scenario with this index, when it has its turn.
Play = Callable[[int, Turn], Outcome]


class ParallelPlay(Generic[Outcome]):
    """Plays what a schedule lets be played.

    Args:
        schedule: Says who may come up, and work.
        play: Plays one. It is called in a thread of its own, in which ``heed`` is heard.
        begin: Called with an index before that, in the main thread.
        take: Called with each index and outcome, as they come, in the main thread.

    """

    def __init__(
        self,
        schedule: Schedule,
        play: Play[Outcome],
        begin: Callable[[int], None],
        take: Callable[[int, Outcome], None],
    ) -> None:
        self._schedule = schedule
        self._play = play
        self._begin = begin
        self._take = take
        self._bell = Bell()
        self._told: SimpleQueue[tuple[str, int]] = SimpleQueue()
        self._turns: dict[int, _Turn] = {}
        self._threads: list[threading.Thread] = []
        self._outcomes: dict[int, Outcome] = {}
        self._failures: list[BaseException] = []
        self._taken: set[int] = set()

    def run(self) -> None:
        """Play all. After an error of ours nothing more is begun, and what was is played on.

        Raises:
            KeyboardInterrupt: Ctrl-C has ended it; the outcome of all that was begun was taken.
            BaseException: The first that ``play`` raised.

        """
        try:
            self._advance()
            while self._schedule.live:
                self._hear()
                self._advance()
        except BaseException:
            # What was heard last may have got lost with it, so only threads tell who has ended.
            with uninterrupted():
                self._bell.ring()
                for thread in self._threads:
                    thread.join()
                for index in sorted(self._outcomes):
                    self._take_once(index)
            raise
        if self._failures:
            raise self._failures[0]

    def _advance(self) -> None:
        """Let come up, and work, whoever may."""
        while (ready := self._schedule.turn()) is not None:
            self._turns[ready].come.set()
        while not self._failures and (index := self._schedule.next()) is not None:
            turn = self._turns[index] = _Turn(index, self._told)
            self._begin(index)
            thread = threading.Thread(target=self._work, args=(index, turn), name=f"play-{index}")
            with uninterrupted():
                thread.start()
                self._threads.append(thread)

    def _work(self, index: int, turn: Turn) -> None:
        with self._bell.heard():
            try:
                self._outcomes[index] = self._play(index, turn)
            except BaseException as error:  # noqa: BLE001 - raised where all have ended
                self._failures.append(error)
        self._told.put(("over", index))

    def _hear(self) -> None:
        """Take in one message, if one comes soon.

        A signal that comes just before this thread sleeps does not wake it: it never sleeps long.
        """
        try:
            what, index = self._told.get(timeout=_HEED)
        except Empty:
            return
        if what == "ready":
            self._schedule.ready(index)
        elif what == "leaving":
            self._schedule.leaving(index)
        else:
            self._schedule.over(index)
            self._take_once(index)

    def _take_once(self, index: int) -> None:
        if index in self._outcomes and index not in self._taken:
            self._taken.add(index)
            self._take(index, self._outcomes[index])


class _Turn(Turn):
    """One scenario's turn, as its thread has it."""

    def __init__(self, index: int, told: SimpleQueue[tuple[str, int]]) -> None:
        self._index = index
        self._told = told
        self._over = False
        self.come = threading.Event()

    def begin(self) -> float:
        """Wait until it may work; returns the seconds that it waited."""
        began = time.perf_counter()
        self._told.put(("ready", self._index))
        while not self.come.wait(_HEED):
            heed()
        return time.perf_counter() - began

    def end(self) -> None:
        """Tell that nothing of it works any more."""
        if not self._over:
            self._over = True
            self._told.put(("leaving", self._index))
