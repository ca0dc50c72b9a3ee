"""What only a container can tell: kernel features, disk and shared memory as the engine has them.

Runs on its own in a container, or in a network namespace of this host, as root of that namespace
and with nothing but the standard library of Python 3.9; prints one JSON object. What it imports of
ours is put in its place before it is sent there (``read_engine.inside_script``).
"""

import errno
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from metta_sandbox.node.agent.sidecars.netfilter import Netfilter

#: Nobody waits for this longer; it then ends by itself, and its container with it.
LIMIT_SECONDS = 10

#: What a kernel answers that has no such thing. ``EINVAL`` is netfilter's word for a part of it
#: that is not there (nfnetlink_rcv_msg).
_ABSENT = (
    errno.EINVAL,
    errno.ENOENT,
    errno.EOPNOTSUPP,
    errno.EPROTONOSUPPORT,
    errno.ENOPROTOOPT,
)


def try_nfqueue() -> None:
    """Have packets of one address handed over, as a fault of the network does.

    Raises:
        OSError: The kernel refuses.

    """
    Netfilter().hand_over(["127.0.0.2"])


def isolated(table: str = "/proc/net/route") -> bool:
    """Tell whether this network namespace leads nowhere: only there may anything be tried."""
    return len(Path(table).read_text().splitlines()) <= 1


def feature(attempt: Callable[[], None]) -> str:
    """Return ``present``, ``absent``, or why it can't be told."""
    try:
        attempt()
    except OSError as failure:
        return "absent" if failure.errno in _ABSENT else str(failure)
    return "present"


def look() -> "dict[str, object]":
    """Return whether the kernel hands packets over, and sizes in bytes."""
    disk = os.statvfs("/")
    shared = os.statvfs("/dev/shm")  # noqa: S108 - its size is the question
    return {
        "nfqueue": feature(try_nfqueue),
        "disk_free": disk.f_bavail * disk.f_frsize,
        "shared_memory": shared.f_blocks * shared.f_frsize,
    }


if __name__ == "__main__":
    if not isolated():
        sys.exit("not in a network namespace of its own")
    signal.alarm(LIMIT_SECONDS)
    json.dump(look(), sys.stdout)
