"""What the kernel counts of a node, as that sees it, for control groups of version 2 and 1.

See its documentation's ``admin-guide/cgroup-v2.rst``, ``admin-guide/cgroup-v1/memory.rst`` and
``scheduler/sched-bwc.rst``.
"""

from __future__ import annotations

from metta_sandbox.errors import StackError

GROUPS = "/sys/fs/cgroup"


def field(text: str, name: str) -> int:
    """Read a number of a file of names and numbers.

    Raises:
        StackError: It is not there.

    """
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    raise StackError(f"the kernel says nothing of {name}")
