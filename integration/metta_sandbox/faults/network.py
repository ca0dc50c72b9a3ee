"""Who strikes the network from beside the hosts of a stack."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from metta_sandbox.errors import StackError
from metta_sandbox.scenario.faults import FaultItem
from metta_sandbox.stack.base import Stack
from metta_sandbox.stack.containers import client
from metta_sandbox.stack.network_sidecar import NetworkSidecars


def sidecars_of(stack: Stack, faults: Iterable[FaultItem]) -> NetworkSidecars | None:
    """Have somebody beside the hosts whose network is struck; None if there can't be anybody.

    Where one does not start, its faults will say why.
    """
    if stack.engine != "compose":
        return None
    sidecars = NetworkSidecars(client(), str(stack.describe()["project"]))
    said = (fault.said for fault in faults)
    with suppress(StackError):
        sidecars.start([host for each in said if each.sidecar == "network" for host in each.beside])
    return sidecars
