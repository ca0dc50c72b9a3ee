"""The control plane names runs wrongly."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from metta_sandbox.scenario.faults.answers import NEXT_RUN, ControlFault, MisguideApi
from metta_sandbox.scenario.faults.executor import FaultPair, Message, Observed


class RunNameFault(ControlFault):
    """The control plane gives out a run name twice, or leaves one out."""

    key = "run_name"
    voids = frozenset({"run names", "W&B runs", "API calls"})
    example = "{run_name: {give: skipped}, when: {call: 2}}"

    give: Literal["duplicate", "skipped"] = Field(
        description="The name of the call before again, or the one after the next."
    )

    @property
    def struck(self) -> str | None:
        """The route that names runs."""
        return NEXT_RUN

    @property
    def rule(self) -> dict[str, Any]:
        """Which name to give."""
        return {"run_name": self.give}

    def __str__(self) -> str:
        return "a run name is " + ("given twice" if self.give == "duplicate" else "left out")


class NameWrongly(MisguideApi[RunNameFault]):
    """Has run names given twice, or left out, and sees which ones the sweep took."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._names: list[str] = []

    def take(self, message: Message) -> None:
        """Keep the names that the sweep's runs got."""
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
        wrong = twice if self.said.give == "duplicate" else left_out and not twice
        return Observed(wrong, f"{seen.seen}; the sweep's runs are {', '.join(self._names)}")


FAULT = FaultPair(RunNameFault, NameWrongly)
