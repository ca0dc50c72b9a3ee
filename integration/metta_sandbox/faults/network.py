"""Who strikes the network from beside the hosts of a stack."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from metta_sandbox.errors import StackError
from metta_sandbox.scenario.faults import FaultItem
from metta_sandbox.stack.engines.base import Stack
from metta_sandbox.stack.engines.sidecars import NetworkSidecar, Sidecars


def sidecars_of(stack: Stack, faults: Iterable[FaultItem]) -> Sidecars[NetworkSidecar] | None:
    """Have somebody beside the hosts whose network is struck; None if there can't be anybody.

    Where one does not start, its faults will say why.
    """
    sidecars = stack.network()
    if sidecars is None:
        return None
    said = (fault.said for fault in faults)
    with suppress(StackError):
        sidecars.start([host for each in said if each.sidecar == "network" for host in each.beside])
    return sidecars
