"""The kept stacks of a run: who has one, and which are there for the next."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from metta_sandbox.errors import StackError
from metta_sandbox.interrupt import heed
from metta_sandbox.stack.engines.base import Sharing

if TYPE_CHECKING:
    from metta_sandbox.stack.engines.compose.kept import KeptStack

#: Seconds between two looks at whether the run was interrupted.
_HEED = 0.1


class Pool:
    """Lends kept stacks to scenarios of the same needs.

    Args:
        sharing: How many there may be, and for how many scenarios.

    """

    def __init__(self, sharing: Sharing) -> None:
        self._sharing = sharing
        # Guards all that follows.
        self._changed = threading.Condition(threading.RLock())
        self._to_come = sharing.scenarios
        self._idle: list[tuple[Hashable, KeptStack]] = []
        self._count = 0
        self._numbers = 0

    def take(self, needs: Hashable, make: Callable[[int], KeptStack]) -> KeptStack:
        """Return a stack that is idle, or a new one; wait until one of either can be had.

        Those that wait do so for a scenario that is over, but has not yet given its stack back.

        Args:
            needs: What it must have been made for.
            make: Makes one, of this number, that is yet to be brought up.

        Raises:
            Interrupted: Ctrl-C ends the run before that.

        """
        with self._changed:
            while True:
                fitting = [each for each in self._idle if each[0] == needs]
                if fitting:
                    self._to_come -= 1
                    self._idle.remove(fitting[0])
                    return fitting[0][1]
                if self._idle or self._count < self._sharing.stacks:
                    break
                self._changed.wait(_HEED)
                heed()
            other = None
            if self._count >= self._sharing.stacks:
                _, other = self._idle.pop(0)
                self._count -= 1
            self._to_come -= 1
            new = self.take_new(make)
        if other is not None:
            with suppress(StackError):  # what is left of it goes with the run
                other.down()
        return new

    def take_new(self, make: Callable[[int], KeptStack]) -> KeptStack:
        """Make a new stack in place of one that was dropped."""
        with self._changed:
            self._count += 1
            self._numbers += 1
            return make(self._numbers)

    def put(self, needs: Hashable, stack: KeptStack) -> bool:
        """Keep a stack that is as it was at first; False if nobody is to come who could want it."""
        with self._changed:
            if self._to_come <= len(self._idle):
                return False
            self._idle.append((needs, stack))
            self._changed.notify_all()
            return True

    def drop(self, stack: KeptStack) -> None:
        """Remove a stack that a scenario had.

        Raises:
            StackError: It can't be removed.

        """
        try:
            stack.down()
        finally:
            with self._changed:
                self._count -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Remove all idle stacks, at the end of the run.

        Raises:
            StackError: One can't be removed; the others are.

        """
        stacks = [stack for _, stack in self._idle]
        self._idle.clear()
        with ThreadPoolExecutor() as pool:
            downs = [pool.submit(stack.down) for stack in stacks]
        for each in downs:
            each.result()
