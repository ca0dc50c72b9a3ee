"""What sets a fault off, and what ends it."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator
from typing_extensions import Self

from metta_sandbox.scenario.base import Part
from metta_sandbox.scenario.expect.records import EventName
from metta_sandbox.scenario.hosts import HostName
from metta_sandbox.scenario.services import Route
from metta_sandbox.scenario.units import Duration, Pattern
from metta_sandbox.scenario.values import Value
from metta_sandbox.words import time

#: Conditions that have keys of their own; ``where`` takes all others.
CONDITIONS = ("node", "rank", "trial", "step")
#: What can be waited for, one of them at a time.
_MOMENTS = ("event", "log", "call", "started", "healed")


class Trigger(Part):
    """A moment: an event, a line of a log, a call of the API, a fault's start or end.

    With ``after`` alone: so long after the sweep's start, or, where it ends a fault, after that
    fault's own start.
    """

    event: EventName | None = Field(
        default=None,
        description="An event: `train.step`. Whoever emits it waits until the fault has struck.",
    )
    node: HostName | None = Field(default=None, description="The event is of this node.")
    rank: int | None = Field(default=None, ge=0, description="The event is of this rank.")
    trial: int | None = Field(default=None, ge=1, description="The event is of this trial.")
    step: int | None = Field(default=None, ge=0, description="The event is of this step.")
    where: dict[str, Value] = Field(
        default_factory=dict, description="What other fields of the event must be, by name."
    )
    log: Pattern | None = Field(
        default=None,
        description="A line of a log matches this regular expression. Nothing waits for it: how "
        "late the fault was is told.",
    )
    on: HostName | None = Field(
        default=None, description="The host whose log is read. Default: all nodes."
    )
    call: int | None = Field(
        default=None,
        ge=1,
        description="The how-manieth call of a route, from 1; its answer waits for the fault.",
    )
    route: Route | None = Field(
        default=None, description="The route that is called. Default: the fault's own."
    )
    started: str | None = Field(default=None, description="Another fault's start, by its name.")
    healed: str | None = Field(default=None, description="Another fault's end, by its name.")
    after: Duration | None = Field(default=None, description="So long after that.")

    @model_validator(mode="after")
    def _say_one_thing(self) -> Self:
        said = [key for key in _MOMENTS if getattr(self, key) is not None]
        if len(said) > 1:
            raise ValueError(f"expected either {' or '.join(said)}")
        if not said and self.after is None:
            raise ValueError(f"expected one of {', '.join(_MOMENTS)}, or after alone")
        if self.event is None and (self.conditions or self.where):
            raise ValueError("expected node, rank, trial, step and where with event only")
        if self.on is not None and self.log is None:
            raise ValueError("expected on with log only")
        if self.route is not None and self.call is None:
            raise ValueError("expected route with call only")
        return self

    @property
    def conditions(self) -> dict[str, Any]:
        """What the event's fields must be, of those that have keys of their own."""
        return {key: getattr(self, key) for key in CONDITIONS if getattr(self, key) is not None}

    @property
    def match(self) -> dict[str, Any]:
        """What all fields of the event must be, its name among them."""
        return {"event": self.event, **self.conditions, **self.where}

    @property
    def other(self) -> str | None:
        """The other fault whose start or end sets this one off."""
        return self.started or self.healed

    def __str__(self) -> str:
        later = "" if self.after is None else f"{time(self.after)} after "
        if self.event is not None:
            told = ", ".join(
                f"{key} {value}" for key, value in self.match.items() if key != "event"
            )
            return f"{later}{self.event}{f' ({told})' if told else ''}"
        if self.log is not None:
            return f"{later}a line like '{self.log}'{f' on {self.on}' if self.on else ''}"
        if self.call is not None:
            return f"{later}call {self.call} of {self.route or 'its route'}"
        if self.other is not None:
            return f"{later}the {'start' if self.started else 'end'} of {self.other}"
        return f"{later}the start"
