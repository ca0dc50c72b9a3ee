"""Who fills disks from beside the nodes of a stack."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from metta_sandbox.errors import StackError
from metta_sandbox.scenario.faults import FaultItem
from metta_sandbox.stack.base import Stack
from metta_sandbox.stack.containers import client
from metta_sandbox.stack.disk_sidecar import DiskSidecars


def disks_of(stack: Stack, faults: Iterable[FaultItem]) -> DiskSidecars | None:
    """Have somebody beside the nodes whose disks are filled; None if there can't be anybody.

    Where one does not start, its faults will say why.
    """
    if stack.engine != "compose":
        return None
    sidecars = DiskSidecars(client(), str(stack.describe()["project"]))
    with suppress(StackError):
        said = (fault.said for fault in faults)
        sidecars.start([host for each in said if each.sidecar == "disk" for host in each.beside])
    return sidecars
