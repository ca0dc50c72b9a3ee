"""Containers that join a node's processes to fill the disk that it sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metta_sandbox.stack.engines.compose.sidecars import Sidecar, Sidecars, SidecarSpec

#: To enter the node's view of the file system, to mount something there, and to let it be the
#: node's. AppArmor's usual profile of containers lets nobody mount anything.
DISK = SidecarSpec(
    "disk",
    "pid",
    ("SYS_PTRACE", "SYS_CHROOT", "SYS_ADMIN", "DAC_OVERRIDE", "CHOWN"),
    "fill",
    ("apparmor=unconfined",),
)


class DiskSidecars(Sidecars[Sidecar]):
    """Those beside the nodes of one stack."""

    spec = DISK

    def make(self, command: Sequence[str], host: str, _container: Mapping[str, Any]) -> Sidecar:
        """Make one."""
        return Sidecar(command, host)
