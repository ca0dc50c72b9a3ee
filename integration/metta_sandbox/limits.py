"""Time for what must not take for ever: judging, collecting, reporting."""

from __future__ import annotations

import ctypes
import math
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from metta_sandbox.errors import SandboxError
from metta_sandbox.interrupt import put_off

#: Seconds between two looks at whether the run was interrupted.
_LOOK = 0.1
#: Seconds that a step gets to end once it is told to.
_GRACE = 1.0

T = TypeVar("T")


class LimitError(SandboxError):
    """A step was not done in time."""


class Allowance:
    """The time that several steps have together.

    Args:
        seconds: How much.
        hurried: How much at most from Ctrl-C on, where that is put off meanwhile.
        least: How much each step gets in any case.

    """

    def __init__(self, seconds: float, hurried: float, least: float = 0.0) -> None:
        self._seconds = seconds
        self._hurried = hurried
        self._least = least
        self._until = time.monotonic() + seconds
        self._interrupted = False

    def spend(self, step: Callable[[], T], most: float = math.inf) -> T:
        """Do a step, in a thread of its own.

        One that waits for something else than Python, and for ever, stays behind in its thread.

        Args:
            step: What to do.
            most: Seconds that it may take of what is left.

        Raises:
            LimitError: It was not done in time.

        """
        began = time.monotonic()
        result: list[T] = []
        errors: list[BaseException] = []
        # Not the thread's own end: an interrupted wait for that makes Python 3.11 believe in it.
        done = threading.Event()

        def work() -> None:
            try:
                result.append(step())
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                errors.append(error)
            finally:
                done.set()

        self._look()
        thread = threading.Thread(target=work, name="step", daemon=True)
        try:
            if began < self._end(began, most):
                thread.start()
            while not done.is_set() and time.monotonic() < self._end(began, most):
                done.wait(_LOOK)
                self._look()
        finally:
            stopped = not done.is_set()
            if stopped and thread.ident is not None:
                _stop(thread.ident)
                done.wait(_GRACE)
        if result:
            return result[0]
        if errors and not stopped:
            raise errors[0]
        raise LimitError(self._why(most))

    def _end(self, began: float, most: float) -> float:
        return min(began + most, max(self._until, began + self._least))

    def _look(self) -> None:
        if not self._interrupted and put_off():
            self._interrupted = True
            self._until = min(self._until, time.monotonic() + self._hurried)

    def _why(self, most: float) -> str:
        if self._interrupted:
            return "not done when the run was interrupted"
        if time.monotonic() < self._until:
            return f"not done within {most:g} s"
        return f"not done when the {self._seconds:g} s for all of it were over"


def _stop(thread: int) -> None:
    """End a thread as soon as it runs Python."""
    # Threads may end by SystemExit and say nothing, and nobody catches it on the way.
    stop = ctypes.py_object(SystemExit)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), stop)
