"""Says what a node has: ``{"unresolved": […], "disk": …, "memory": …}``, in bytes.

``disk`` is what is free where it runs, ``memory`` what is available; null where nobody says.
"""

import json
import shutil
import socket
import sys
from pathlib import Path
from typing import Any


def unresolved(names: Any) -> Any:
    """List the host names that this node can't resolve."""
    found = []
    for name in names:
        try:
            socket.getaddrinfo(name, None)
        except OSError:
            found.append(name)
    return found


def available_memory() -> Any:
    """Read what the kernel says, or what is left of a container's limit if that is less."""
    found = [_kernel()]
    limit, used = (_number(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if limit is not None and used is not None:
        found.append(limit - used)
    known = [each for each in found if each is not None]
    return min(known) if known else None


def _kernel() -> Any:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _number(path: str) -> Any:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):  # not there, or "max"
        return None


if __name__ == "__main__":
    disk = shutil.disk_usage(".").free
    told = {"unresolved": unresolved(sys.argv[1:]), "disk": disk, "memory": available_memory()}
    print(json.dumps(told))  # noqa: T201
