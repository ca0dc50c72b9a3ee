"""Who strikes hosts of a stack from beside them: their networks and their disks."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from metta_sandbox.errors import StackError
from metta_sandbox.scenario.faults import FaultItem
from metta_sandbox.stack.engines.base import Stack
from metta_sandbox.stack.engines.sidecars import Sidecars


def sidecars_of(stack: Stack, faults: Iterable[FaultItem]) -> Sidecars | None:
    """Have somebody beside the hosts whose network is struck; None if there can't be anybody."""
    return _started(stack.network(), "network", faults)


def disks_of(stack: Stack, faults: Iterable[FaultItem]) -> Sidecars | None:
    """Have somebody beside the nodes whose disks are filled; None if there can't be anybody."""
    return _started(stack.disks(), "disk", faults)


def _started(
    sidecars: Sidecars | None, purpose: str, faults: Iterable[FaultItem]
) -> Sidecars | None:
    """Start those that faults want. Where one does not start, its faults will say why."""
    if sidecars is not None:
        said = (fault.said for fault in faults)
        with suppress(StackError):
            sidecars.start(
                [host for each in said if each.sidecar == purpose for host in each.beside]
            )
    return sidecars
