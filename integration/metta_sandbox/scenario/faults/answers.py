"""What faults of the control plane have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

from metta_sandbox.scenario.faults.base import FaultKind
from metta_sandbox.scenario.faults.executor import Executor, Message, Observed
from metta_sandbox.scenario.faults.trigger import Trigger

NEXT_RUN = "POST /sweeps/{name}/runs/next"


class ControlFault(FaultKind):
    """A fault of the control plane's answers."""

    family = "control plane"
    trigger = "may"
    healing = "it answers as before"
    proof = "the answer that went to the caller"

    @property
    def struck(self) -> str | None:
        """The route whose calls are struck; None for all but the check of its health."""
        return None

    @property
    def rule(self) -> dict[str, Any]:
        """What the control plane is told to do with such a call."""
        raise NotImplementedError


C = TypeVar("C", bound=ControlFault)


class MisguideApi(Executor[C]):
    """Has the control plane answer otherwise, and sees how it answered whom."""

    patience = math.inf
    hears_all = True
    by_reports = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._calls: tuple[int, int | None] = (1, None)
        self._struck: list[Mapping[str, Any]] = []
        self._well: Mapping[str, Any] | None = None
        self._healed = False
        self._again: Mapping[str, Any] | None = None

    def by_itself(self, when: Trigger | None) -> bool:
        """Leave the moment to the control plane if the trigger counts calls of this route alone."""
        if when is None:
            return True
        own = when.route in (None, self.said.struck)
        return when.call is not None and when.after is None and own

    def prepare(self, when: Trigger | None, until: Trigger | None) -> None:
        """Tell the control plane the rule, and for which calls it holds."""
        first = 1 if when is None or when.call is None else when.call
        self._calls = (first, first if when is not None and until is None else None)
        self.inject()

    @property
    def struck(self) -> bool:
        """Whether a call was struck."""
        return bool(self._struck)

    def before(self) -> Observed:
        """Tell how the last call of the route was answered, if there was one."""
        told = "no call yet" if self._well is None else f"the call before: {_told(self._well)}"
        return Observed(holds=True, seen=told)

    def inject(self) -> None:
        """Tell the control plane the rule."""
        first, last = self._calls
        rule = {"fault": self.name, "route": self.said.struck, "first": first, "last": last}
        self.context.set_rule(self.name, {**rule, **self.said.rule})

    def during(self) -> Observed:
        """See that a call was answered by the rule."""
        if not self._struck:
            return Observed(holds=False, seen="no call was struck")
        more = f" and {len(self._struck) - 1} more" if len(self._struck) > 1 else ""
        return Observed(self.is_so(self._struck[0]), f"{_told(self._struck[0])}{more}")

    def is_so(self, record: Mapping[str, Any]) -> bool:
        """Tell whether a call got what the fault asks for."""
        rule = self.said.rule
        status = rule.get("status") in (None, record.get("status"))
        late = float(record.get("seconds", 0.0)) >= (rule.get("delay") or 0.0)
        return status and late and bool(record.get("dropped")) == bool(rule.get("drop"))

    def heal(self) -> None:
        """Have the control plane forget the rule."""
        self.context.set_rule(self.name, None)
        self._healed = True

    def after(self) -> Observed:
        """Tell how the next call of the route was answered, if there was one."""
        told = "no call since" if self._again is None else f"the next call: {_told(self._again)}"
        return Observed(holds=True, seen=told)

    def take(self, message: Message) -> None:
        """Keep how the control plane answered calls of the route."""
        record = message.get("record", {})
        if message["type"] != "event" or record.get("event") != "api.request":
            return
        if record.get("fault") == self.name:
            self._struck.append(record)
        elif self.said.struck in (None, f"{record.get('method')} {record.get('route')}"):
            if self._healed and self._again is None:
                self._again = record
            elif not self._struck:
                self._well = record


def _told(record: Mapping[str, Any]) -> str:
    status = "no answer" if record.get("dropped") else f"status {record.get('status')}"
    call = f"call {record.get('call')} of {record.get('method')} {record.get('route')}"
    return f"{call} got {status} after {record.get('seconds', 0.0):.3f} s"
