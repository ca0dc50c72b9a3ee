"""What carries one kind of fault out: a look before, the injection, a look at it, the healing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from metta_sandbox.scenario.faults.base import FaultKind
from metta_sandbox.scenario.faults.trigger import Trigger

if TYPE_CHECKING:
    from metta_sandbox.faults.context import FaultContext

K = TypeVar("K", bound=FaultKind)
Message = Mapping[str, Any]


@dataclass(frozen=True)
class Observed:
    """What a probe saw, and whether it is as it must be at that time."""

    holds: bool
    seen: str


class Executor(Generic[K]):
    """Carries a fault out. Each step may raise a SandboxError or an OSError; then it is unproven.

    Args:
        name: The fault's.
        said: Target and parameters.
        context: What it strikes.

    """

    #: Seconds within which a look must find the fault, or its end, once it was brought about.
    patience = 10.0
    #: Whether it is told all that nodes report, and not only what comes once it is there.
    hears_all = False
    #: Whether reports alone show it, also those that came when all was over.
    by_reports = False

    def __init__(self, name: str, said: K, context: FaultContext) -> None:
        self.name = name
        self.said = said
        self.context = context
        #: The event that set it off, if one did.
        self.moment: Mapping[str, Any] = {}

    def waits_for(self, _moment: Mapping[str, Any]) -> bool:
        """Tell whether whoever emitted the trigger must go on for the fault to be carried out."""
        return False

    def must_follow(self, _moment: Mapping[str, Any]) -> str | None:
        """Name the event of the trigger's trial that has to come first; None if none has to."""
        return None

    def by_itself(self, _when: Trigger | None) -> bool:
        """Tell whether the fault finds its moment by itself, which ``struck`` then tells of."""
        return False

    @property
    def struck(self) -> bool:
        """Whether a fault that finds its moment by itself has struck."""
        return False

    def prepare(self, when: Trigger | None, until: Trigger | None) -> None:
        """Let one that strikes by itself get ready, before the sweep starts."""

    def missed(self) -> bool:
        """Tell whether a fault that was not yet due at the sweep's end is struck all the same."""
        return False

    def before(self) -> Observed:
        """Look whether the target is well. If it is not, the fault can't be proven."""
        raise NotImplementedError

    def inject(self) -> None:
        """Bring the fault about."""
        raise NotImplementedError

    def during(self) -> Observed:
        """Look whether the fault is there."""
        raise NotImplementedError

    def heal(self) -> None:
        """Undo the fault. Doing so twice, or too late, is no error."""

    def after(self) -> Observed | None:
        """Look whether the fault is gone; None where it can't be undone."""
        return None

    def take(self, message: Message) -> None:
        """Take in a message of a node; see ``hears_all`` for which."""


class StateExecutor(Executor[K]):
    """Carries out a fault that is a state: the same look shows that it is there, or not."""

    def before(self) -> Observed:
        """Look whether all is well."""
        return self.look(struck=False)

    def during(self) -> Observed:
        """Look whether the fault is there."""
        return self.look(struck=True)

    def after(self) -> Observed:
        """Look whether all is well again."""
        return self.look(struck=False)

    def look(self, *, struck: bool) -> Observed:
        """Look at the target, and say whether it is as it must be while it is struck, or is not."""
        raise NotImplementedError


class EventExecutor(Executor[K]):
    """Carries out a fault that its target reports in an event."""

    #: It is told when it happens, and that may take its time.
    patience = math.inf
    by_reports = True
    #: The event, once it has come.
    happened: Mapping[str, Any] | None = None

    @property
    def struck(self) -> bool:
        """Whether the event that tells of the fault has come."""
        return self.happened is not None

    def take(self, message: Message) -> None:
        """Keep the first event that tells that this fault has happened."""
        record = message.get("record", {})
        told = message["type"] == "event" and record.get("event") == "fault.happened"
        if told and record.get("fault") == self.name and self.happened is None:
            self.happened = record


@dataclass(frozen=True)
class FaultPair:
    """A kind of fault and its executor.

    Args:
        kind: What a scenario says of it, and its documentation.
        executor: What carries it out, and proves it.

    """

    kind: type[FaultKind]
    executor: type[Executor[Any]]
