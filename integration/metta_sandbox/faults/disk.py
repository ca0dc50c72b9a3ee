"""Carrying out what fills a node's disk, and seeing whether the node finds it full."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from metta_sandbox.errors import StackError
from metta_sandbox.faults.executor import Executor, Observed
from metta_sandbox.scenario.faults import DiskFull, FaultItem
from metta_sandbox.stack.engines.base import RUN_FOLDER, Stack
from metta_sandbox.stack.engines.sidecars import Sidecar, Sidecars

_NO_ROOM = "ENOSPC"


def disks_of(stack: Stack, faults: Iterable[FaultItem]) -> Sidecars[Sidecar] | None:
    """Have somebody beside the nodes whose disks are filled; None if there can't be anybody.

    Where one does not start, its faults will say why.
    """
    sidecars = stack.disks()
    if sidecars is None:
        return None
    with suppress(StackError):
        sidecars.start([each.said.node for each in faults if isinstance(each.said, DiskFull)])
    return sidecars


class FillDisk(Executor[DiskFull]):
    """Lets a node find no room in the folder that nodes share."""

    def before(self) -> Observed:
        """See that there is room."""
        return self._look(full=False)

    def inject(self) -> None:
        """Take it."""
        self._sidecar.ask("fill", name=self.name, folder=RUN_FOLDER)

    def during(self) -> Observed:
        """See that there is none, and that the node is told so."""
        return self._look(full=True)

    def heal(self) -> None:
        """Give it back."""
        self._sidecar.ask("empty", name=self.name, folder=RUN_FOLDER)

    def after(self) -> Observed:
        """See that there is room again."""
        return self._look(full=False)

    @property
    def _sidecar(self) -> Sidecar:
        if self.context.disks is None:
            raise StackError("nobody can be beside a node that is no container")
        return self.context.disks.beside(self.said.node)

    def _look(self, *, full: bool) -> Observed:
        found = self.context.ask(self.said.node, "room", folder=RUN_FOLDER)
        free, refused = found["free"], found["refused"]
        holds = (free == 0 and refused == _NO_ROOM) if full else (free > 0 and not refused)
        told = f"is refused ({refused})" if refused else "is written"
        return Observed(holds, f"{free} bytes are free on {self.said.node}, where a file {told}")
