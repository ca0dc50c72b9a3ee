"""Ctrl-C: heard at any moment while scenarios are played, and never while they are tidied up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: What ends a run early: Ctrl-C, whoever stops the job, the terminal that is gone.
HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: The exit status of a command that was ended so, as a shell gives it for Ctrl-C.
INTERRUPTED = 130


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


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put these signals off until the block is done, also when it ends in an error."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda heard, _frame: came.append(heard)) for number in HEARD
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            first = before[signal.Signals(came[0])]
            if callable(first):
                first(came[0], None)
            else:
                signal.raise_signal(came[0])
