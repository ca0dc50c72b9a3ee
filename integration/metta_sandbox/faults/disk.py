"""Who fills disks from beside the nodes of a stack."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from metta_sandbox.errors import StackError
from metta_sandbox.scenario.faults import FaultItem
from metta_sandbox.stack.engines.base import Stack
from metta_sandbox.stack.engines.sidecars import Sidecar, Sidecars


def disks_of(stack: Stack, faults: Iterable[FaultItem]) -> Sidecars[Sidecar] | None:
    """Have somebody beside the nodes whose disks are filled; None if there can't be anybody.

    Where one does not start, its faults will say why.
    """
    sidecars = stack.disks()
    if sidecars is None:
        return None
    with suppress(StackError):
        said = (fault.said for fault in faults)
        sidecars.start([host for each in said if each.sidecar == "disk" for host in each.beside])
    return sidecars
