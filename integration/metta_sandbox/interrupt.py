"""Ctrl-C: heard at any moment while scenarios are played, and never while they are tidied up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

#: What ends a run early: Ctrl-C, whoever stops the job, the terminal that is gone.
HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: The exit status of a command that was ended so, as a shell gives it for Ctrl-C.
INTERRUPTED = 130


#: Of a thread that works for a run: who tells it of Ctrl-C. Else nothing.
_here = threading.local()
#: What the main thread has heard in blocks that are uninterrupted, the outer ones first.
_came: list[list[int]] = []


class Interrupted(KeyboardInterrupt):
    """KeyboardInterrupt under a name of its own.

    CPython remembers one of its very own class that leaves an ``exec`` of a string, which is how
    dataclasses are made while a module is imported. It then ends the process by SIGINT in the
    end, although somebody had caught it: ``run_eval_code_obj`` in its ``Python/pythonrun.c``.
    """


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise Interrupted at the first of these signals, and ignore those that follow it.

    After the first there is only tidying up, which ends by itself and must not be cut off. What
    the caller had this process ignore (``nohup``, a script's background job) stays ignored.
    """
    heard = False

    def hear(_number: int, _frame: FrameType | None) -> None:
        nonlocal heard
        if not heard:
            heard = True
            raise Interrupted

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, hear)
        for number in HEARD
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Bell:
    """Carries Ctrl-C from the main thread, the only one that hears signals, to those beside it."""

    def __init__(self) -> None:
        self._rung = threading.Event()

    def ring(self) -> None:
        """Interrupt every thread that listens, and those that will."""
        self._rung.set()

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Let this thread listen: ``heed`` raises Interrupted in it, once."""
        _here.ear = _Ear(self._rung)
        try:
            yield
        finally:
            _here.ear = None


@dataclass
class _Ear:
    """A thread's own knowledge of a bell."""

    rung: threading.Event
    shut: int = 0
    heard: bool = False


def heed() -> None:
    """Raise Interrupted in a thread whose run was interrupted, at the first call after that.

    Whatever waits for long calls it now and then. In the main thread, where signals are heard at
    any moment, and in a block that is ``uninterrupted``, it does nothing.
    """
    ear: _Ear | None = getattr(_here, "ear", None)
    if ear and not ear.shut and not ear.heard and ear.rung.is_set():
        ear.heard = True
        raise Interrupted


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put these signals off until the block is done, also when it ends in an error."""
    if threading.current_thread() is not threading.main_thread():
        with _deaf():
            yield
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda heard, _frame: came.append(heard)) for number in HEARD
    }
    _came.append(came)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _came.pop()
        if came:
            first = before[signal.Signals(came[0])]
            if callable(first):
                first(came[0], None)
            else:
                signal.raise_signal(came[0])


def put_off() -> bool:
    """Tell whether Ctrl-C has come for this thread, in a block that puts it off."""
    if threading.current_thread() is threading.main_thread():
        return any(_came)
    ear: _Ear | None = getattr(_here, "ear", None)
    return ear is not None and ear.shut > 0 and not ear.heard and ear.rung.is_set()


@contextmanager
def _deaf() -> Iterator[None]:
    """Put a bell off in this thread until the block is done."""
    ear: _Ear | None = getattr(_here, "ear", None)
    if ear is None:
        yield
        return
    ear.shut += 1
    try:
        yield
    finally:
        ear.shut -= 1
        heed()
