"""A node's disk is full."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metta_sandbox.errors import StackError
from metta_sandbox.scenario.faults.base import OneNode
from metta_sandbox.scenario.faults.executor import FaultPair, Observed, StateExecutor

if TYPE_CHECKING:
    from metta_sandbox.stack.engines.sidecars import Sidecar

_NO_ROOM = "ENOSPC"


class DiskFullFault(OneNode):
    """The disk under the folder that nodes share has no room left, as the node sees it."""

    key = "disk_full"
    family = "resources"
    sidecar = "disk"
    trigger = "may"
    healing = "there is room again"
    proof = (
        "bytes were free and a file could be written there; none are, and the node is answered "
        "ENOSPC; both again"
    )
    voids = frozenset({"W&B runs", "checkpoints"})
    example = (
        "{disk_full: {node: sweep-master}, "
        "when: {event: train.step, rank: 0, trial: 1, step: 1}, until: {after: 2s}}"
    )

    def __str__(self) -> str:
        return f"the disk of {self.node} is full"


class FillDisk(StateExecutor[DiskFullFault]):
    """Lets a node find no room in the folder that nodes share."""

    def inject(self) -> None:
        """Fill the disk."""
        self._sidecar.ask("fill", name=self.name, folder=self.context.shared_folder)

    def heal(self) -> None:
        """Remove what fills the disk."""
        self._sidecar.ask("empty", name=self.name, folder=self.context.shared_folder)

    @property
    def _sidecar(self) -> Sidecar:
        if self.context.disks is None:
            raise StackError("nobody can be beside a node that is no container")
        return self.context.disks.beside(self.said.node)

    def look(self, *, struck: bool) -> Observed:
        """Ask the node how many bytes are free, and whether it can write a file."""
        found = self.context.ask(self.said.node, "room", folder=self.context.shared_folder)
        free, refused = found["free"], found["refused"]
        holds = (free == 0 and refused == _NO_ROOM) if struck else (free > 0 and not refused)
        told = f"is refused ({refused})" if refused else "is written"
        return Observed(holds, f"{free} bytes are free on {self.said.node}, where a file {told}")


FAULT = FaultPair(DiskFullFault, FillDisk)
