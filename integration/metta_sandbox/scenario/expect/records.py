"""The words for events: their names, and which are meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from metta_sandbox.node.agent.events import CATALOGUE
from metta_sandbox.scenario.base import Part
from metta_sandbox.scenario.overrides import instead
from metta_sandbox.scenario.values import Value

#: The events that we tell. Trainers may add others.
EVENTS = tuple(CATALOGUE)


def _event_name(value: str) -> str:
    if not re.fullmatch(r"[\w.:/-]+", value):
        raise ValueError("expected an event's name, such as train.step")
    # A trainer may have events of its own, so only what is as good as a known name is refused.
    if value not in EVENTS and (known := difflib.get_close_matches(value, EVENTS, 1, 0.92)):
        raise ValueError(f"nobody emits it; did you mean {known[0]}?")
    return value


EventName = Annotated[str, AfterValidator(_event_name)]
Where = dict[str, Value]
WHERE = (
    "What its fields must be, by name, such as `rank`, `trial`, `node`, `status`; dotted for what "
    "is nested."
)


class Moment(Part):
    """An event by its name, and what its fields must be."""

    event: EventName = Field(description="Its name, such as handoff.sent.")
    where: Where = Field(default_factory=dict, description=WHERE)

    def __str__(self) -> str:
        return f"{self.event}{conditions(self.where)}"


def conditions(where: Mapping[str, Value]) -> str:
    """Write conditions in words."""
    told = ", ".join(f"{key}={value}" for key, value in where.items())
    return f" ({told})" if told else ""


def moment(value: Any) -> Any:
    """Let an event's name alone stand for it."""
    return {"event": value} if isinstance(value, str) else value


def nearest_event(name: str) -> str:
    """Ask whether an event was meant that somebody of ours emits."""
    return instead(name, EVENTS)
