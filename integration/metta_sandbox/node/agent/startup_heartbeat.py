"""Signs of life of a rollout that starts: on a slow machine its imports take as long as a hang."""

import os
import sys
import threading
import time
from typing import Callable, Optional

from metta_sandbox.node.agent.processes import stat_of

#: Seconds between two signs, and how much processor time in between makes one.
_PAUSE = 5.0
_WORKS = 0.02
#: Seconds after which a rollout has started, or never will.
_LONGEST = 120.0


def tell_signs_of_life(
    pause: float = _PAUSE,
    longest: float = _LONGEST,
    used: Callable[[], float] = time.process_time,
    over: Optional[threading.Event] = None,
) -> threading.Thread:
    """Print a line every few seconds in which a process has worked, for as long as it starts.

    One that waits for others uses no processor, and is silent.

    Args:
        pause: Seconds between two looks.
        longest: Seconds until it ends.
        used: Says how many seconds of processor time the process has used; default: this one.
        over: Set when it is to end before.

    """
    until = threading.Event() if over is None else over

    def tell() -> None:
        began, before = time.monotonic(), used()
        while (since := time.monotonic() - began) < longest and not until.wait(pause):
            now = used()
            if now - before >= _WORKS:
                sys.stderr.write(f"sweep: at work, {since + pause:.0f} s after its start\n")
            before = now

    thread = threading.Thread(target=tell, name="signs-of-life", daemon=True)
    thread.start()
    return thread


def used_by(pid: int) -> Callable[[], float]:
    """Return what says how many seconds of processor time another process has used."""

    def used() -> float:
        try:
            fields = stat_of(pid)
        except OSError:  # it is gone
            return 0.0
        user, system = int(fields[11]), int(fields[12])
        return (user + system) / os.sysconf("SC_CLK_TCK")

    return used
