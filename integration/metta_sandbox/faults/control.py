"""Carrying out faults of the control plane."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from metta_sandbox.api.fault_rules import ApiFaultRule
from metta_sandbox.faults.executor import Executor, Message, Observed
from metta_sandbox.scenario.faults import ControlFault, RunName


class MisguideApi(Executor[ControlFault]):
    """Has the control plane answer otherwise, and sees how it answered whom."""

    patience = math.inf
    hears_all = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        #: The first and the last call that are struck.
        self.calls: tuple[int, int | None] = (1, None)
        self._struck: list[Mapping[str, Any]] = []
        self._well: Mapping[str, Any] | None = None
        self._healed = False
        self._again: Mapping[str, Any] | None = None

    @property
    def struck(self) -> bool:
        """Whether a call has been."""
        return bool(self._struck)

    def before(self) -> Observed:
        """See that the last call of the route was answered as it should be, if there was one."""
        told = "no call yet" if self._well is None else f"the call before: {_told(self._well)}"
        return Observed(holds=True, seen=told)

    def inject(self) -> None:
        """Tell it the rule."""
        first, last = self.calls
        rule = {"fault": self.name, "route": self.said.struck, "first": first, "last": last}
        self.context.set_rule(self.name, ApiFaultRule(**rule, **self.said.rule))

    def during(self) -> Observed:
        """See that a call was answered so."""
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
        """Take the rule back."""
        self.context.set_rule(self.name, None)
        self._healed = True

    def after(self) -> Observed:
        """No later call was struck."""
        told = "no call since" if self._again is None else f"the next call: {_told(self._again)}"
        return Observed(holds=True, seen=told)

    def take(self, message: Message) -> None:
        """See how the control plane answered."""
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


class NameWrongly(MisguideApi):
    """Has run names given twice, or left out, and sees which ones the sweep took."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._names: list[str] = []

    def take(self, message: Message) -> None:
        """See the names."""
        super().take(message)
        record = message.get("record", {})
        if record.get("event") == "run.named":
            self._names.append(str(record.get("run")))

    def during(self) -> Observed:
        """See that the names are not what they should be."""
        seen = super().during()
        if not seen.holds:
            return seen
        numbers = [name.rpartition(".")[2] for name in self._names]
        twice = len(set(numbers)) < len(numbers)
        left_out = numbers != [str(number) for number in range(1, len(numbers) + 1)]
        assert isinstance(self.said, RunName)
        wrong = twice if self.said.give == "duplicate" else left_out and not twice
        return Observed(wrong, f"{seen.seen}; the sweep's runs are {', '.join(self._names)}")


def _told(record: Mapping[str, Any]) -> str:
    status = "no answer" if record.get("dropped") else f"status {record.get('status')}"
    call = f"call {record.get('call')} of {record.get('method')} {record.get('route')}"
    return f"{call} got {status} after {record.get('seconds', 0.0):.3f} s"
