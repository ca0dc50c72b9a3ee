"""How a standing stack is: every node and service, and what runs on it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from metta_sandbox.scenario.names import API
from metta_sandbox.stack.engines import find
from metta_sandbox.stack.engines.base import HUB
from metta_sandbox.stack.engines.view import StackMember
from metta_sandbox.stack.standing_record import StandingRecord

#: How many are asked at once: each answer costs a process.
_AT_ONCE = 4


@dataclass(frozen=True)
class StackStatus:
    """The state of a standing stack."""

    engine: str
    parts: tuple[StackMember, ...]

    @property
    def ills(self) -> tuple[str, ...]:
        """What is wrong with its members, a phrase each."""
        return tuple(part.ill for part in self.parts if part.ill)

    @property
    def well(self) -> bool:
        """Whether everything is there and answers."""
        return bool(self.parts) and not self.ills


def stack_status(record: StandingRecord) -> StackStatus:
    """Look at every member of a standing stack.

    Raises:
        MachineError: The engine it is on does not answer.

    """
    view = find(record.engine).view(record)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        parts = list(pool.map(view.part, (*record.hosts, API, HUB)))
    hub = next(part for part in parts if part.host == HUB)
    # The hub's list tells who is there only where the hub itself answers.
    known = (*hub.running, HUB) if hub.health == "healthy" else record.hosts
    shown = [replace(part, running=()) if part is hub else part for part in parts]
    return StackStatus(record.engine, tuple(_unless_cut_off(part, known) for part in shown))


def _unless_cut_off(part: StackMember, known: Sequence[str]) -> StackMember:
    cut_off = part.rank is not None and part.health == "healthy" and part.host not in known
    return replace(part, health="cut off") if cut_off else part
