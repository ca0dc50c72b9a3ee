"""One fault's course: awaited, brought about, shown to be there, healed, shown to be gone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from metta_sandbox.errors import SandboxError
from metta_sandbox.report.results import FaultResult
from metta_sandbox.scenario.faults import FaultItem
from metta_sandbox.scenario.faults.executor import Executor, Observed
from metta_sandbox.scenario.faults.trigger import Trigger


class Phase(str, Enum):
    """How far a fault's course has come."""

    AWAITED = "awaited"
    DELAYED = "delayed"
    STRUCK = "struck"
    HEALED = "healed"


@dataclass
class FaultCourse:
    """What has become of one fault so far.

    Args:
        name: Its name.
        item: What the scenario says.
        executor: What carries it out.

    """

    name: str
    item: FaultItem
    executor: Executor[Any]
    phase: Phase = Phase.AWAITED
    #: Whether it finds its moment by itself.
    by_itself: bool = field(init=False)
    #: What sets it off; another event than the scenario says, if the fault has to wait for that.
    when: Trigger | None = field(init=False)
    #: When it strikes, and when it is healed, by ``time.monotonic``, if that is known.
    strike_at: float = math.inf
    heal_at: float = math.inf
    struck_at: float = math.inf
    healed_at: float = math.inf
    #: How it came to strike, in words.
    came: str = ""
    late: float | None = None
    before: Observed | None = None
    during: Observed | None = None
    after: Observed | None = None
    problem: str = ""

    def __post_init__(self) -> None:
        self.when = self.item.when
        self.by_itself = self.executor.by_itself(self.when)

    @property
    def fired(self) -> bool:
        """Whether the fault was set off."""
        return self.phase in (Phase.STRUCK, Phase.HEALED)

    @property
    def proven(self) -> bool:
        """Whether all was seen that shows the fault, and its end."""
        observations = [self.before, self.during, *([self.after] if self.after else [])]
        return (
            self.fired
            and not self.problem
            and all(observed and observed.holds for observed in observations)
        )

    @property
    def looks_again_until(self) -> float:
        """Until when the fault, or its end, is looked for again, by ``time.monotonic``."""
        if self.phase is Phase.STRUCK and not (self.during and self.during.holds):
            return self.struck_at + self.executor.patience
        if self.phase is Phase.HEALED and self.after is not None and not self.after.holds:
            return self.healed_at + self.executor.patience
        return -math.inf

    def prepare(self) -> None:
        """Let an executor that finds its moment by itself get ready."""
        self.attempt(lambda: self.executor.prepare(self.when, self.item.until))

    def strike(self) -> None:
        """Look whether all is well, and bring the fault about."""
        self.phase, self.struck_at = Phase.STRUCK, time.monotonic()
        self.before = self._look(self.executor.before)
        self.attempt(self.executor.inject)
        self.look()

    def look(self) -> None:
        """Look whether the fault is there, or, once it was healed, gone."""
        if self.phase is Phase.STRUCK and not (self.during and self.during.holds):
            self.during = self._look(self.executor.during)
        elif self.phase is Phase.HEALED and not (self.after and self.after.holds):
            found: list[Observed | None] = []
            self.attempt(lambda: found.append(self.executor.after()))
            self.after = found[0] if found else None

    def heal(self) -> None:
        """Undo the fault."""
        self.look()
        self.phase, self.healed_at = Phase.HEALED, time.monotonic()
        self.attempt(self.executor.heal)
        self.look()

    def attempt(self, step: Callable[[], object]) -> None:
        """Take a step that may break; the first problem is kept."""
        try:
            step()
        except (SandboxError, OSError) as error:
            self.problem = self.problem or str(error)

    @staticmethod
    def _look(probe: Callable[[], Observed]) -> Observed:
        try:
            return probe()
        except (SandboxError, OSError) as error:
            return Observed(holds=False, seen=f"could not look: {error}")

    def result(self) -> FaultResult:
        """Tell what became of the fault."""
        return FaultResult(
            name=self.name,
            kind=self.item.key,
            fired=self.fired,
            proven=self.proven,
            proof=self.proof,
            late=self.late,
        )

    @property
    def proof(self) -> str:
        """What was seen, in words."""
        if not self.fired:
            why = self.problem or f"{self.when or 'its moment'} never came"
            return f"never set off: {why}"
        observations = {"before": self.before, "during": self.during, "after": self.after}
        told = [
            f"{when}: {observed.seen}"
            for when, observed in observations.items()
            if observed is not None
        ]
        if self.problem:
            told.append(f"broke: {self.problem}")
        return "; ".join([*([self.came] if self.came else []), *told])
