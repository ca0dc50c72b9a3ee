"""Containers that join a node's processes to fill the disk that it sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metta_sandbox.stack.beside import Duty, Side, Sides

#: To enter the node's view of the file system, to mount something there, and to let it be the
#: node's. AppArmor's usual profile of containers lets nobody mount anything.
DISK = Duty(
    "disk",
    "pid",
    ("SYS_PTRACE", "SYS_CHROOT", "SYS_ADMIN", "DAC_OVERRIDE", "CHOWN"),
    "fill",
    ("apparmor=unconfined",),
)


class DiskSides(Sides[Side]):
    """Those beside the nodes of one stack."""

    duty = DISK

    def make(self, command: Sequence[str], host: str, _container: Mapping[str, Any]) -> Side:
        """Make one."""
        return Side(command, host)
