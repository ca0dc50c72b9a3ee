"""How the first process of a node or service ended, in words."""

from __future__ import annotations

import signal

from metta_sandbox.words import ended

#: A shell, and a container, that a signal killed ends with this plus the signal.
_SIGNALLED = 128
#: What `timeout` of the coreutils ends with, after it has ended its command.
_TIMED_OUT = 124
_LONGEST = 300


def describe_end(status: int, said: str = "", *, out_of_memory: bool = False) -> str:
    """Say how a process ended.

    Args:
        status: Its exit status; negative for a signal.
        said: Its last words, if it had any.
        out_of_memory: Whether it was killed for having used too much memory.

    """
    how = ended(status)
    if status == _TIMED_OUT:
        how += ", as `timeout` does when the time is up"
    if out_of_memory:
        how += ", out of memory"
    said = said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"
    # What was killed from outside did not know it when it spoke last.
    return how if status == -signal.SIGKILL or not said else f"{how}, saying: {said}"


def container_status(status: int) -> int:
    """Turn a container's exit status into a process's, negative for a signal."""
    return _SIGNALLED - status if status > _SIGNALLED else status
