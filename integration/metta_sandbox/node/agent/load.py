"""How much longer than on a quiet machine things take here, by the kernel's load average."""

import os

#: Processes ready to run on each processor that slow nothing down that we wait for.
_FREE = 2.0
#: However loaded a machine is, nobody waits longer than this many times.
_MOST = 5.0


def slowed(seconds: float) -> float:
    """Give the seconds to wait for what takes ``seconds`` at most on a machine that is not busy."""
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    return seconds * min(_MOST, max(1.0, load / _FREE))
