"""What the kernel has killed on this node as its memory ran out."""

import os
from typing import Optional

#: Where it counts, for control groups of version 2 and of version 1; see its documentation's
#: ``admin-guide/cgroup-v2.rst`` and ``admin-guide/cgroup-v1/memory.rst``.
_COUNTERS = ("memory.events", "memory/memory.oom_control")


def oom_kills(folder: str = "/sys/fs/cgroup") -> Optional[int]:
    """Count the processes that the kernel has killed here; None if it does not count them.

    Args:
        folder: Where control groups are mounted.

    """
    for name in _COUNTERS:
        try:
            with open(os.path.join(folder, name)) as file:
                lines = file.read().splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return None
