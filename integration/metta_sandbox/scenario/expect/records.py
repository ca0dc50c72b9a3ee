"""What must stand in records: logs, API calls, events, W&B files."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from typing_extensions import Self

from metta_sandbox.node.agent.events import CATALOGUE
from metta_sandbox.scenario.base import Part
from metta_sandbox.scenario.expect.bounds import Count, Kind, Wanted, Which, tell, whose
from metta_sandbox.scenario.hosts import HostName
from metta_sandbox.scenario.services import Route
from metta_sandbox.scenario.units import Duration, Pattern
from metta_sandbox.scenario.values import Value
from metta_sandbox.words import time

#: The events that we tell. Trainers may add others.
EVENTS = tuple(CATALOGUE)
#: Things that have an order.
_FEWEST = 2


class Log(Kind):
    """Patterns that the lines of a host's log must, or must not, match."""

    contains: Pattern | None = Field(
        default=None, description="Some line matches this regular expression (Python's re.search)."
    )
    lacks: Pattern | None = Field(
        default=None, description="No line matches this regular expression."
    )
    in_order: Annotated[tuple[Pattern, ...], Field(strict=False)] | None = Field(
        default=None, description="One file has lines that match these, one after another."
    )
    times: Count | None = Field(
        default=None, description="How many lines match contains. Default: at least one."
    )
    on: HostName | None = Field(
        default=None, description="The host whose log is read. Default: those of all nodes."
    )

    @model_validator(mode="after")
    def _say_one_thing(self) -> Self:
        if sum(said is not None for said in (self.contains, self.lacks, self.in_order)) != 1:
            raise ValueError("expected either contains or lacks or in_order")
        if self.times is not None and self.contains is None:
            raise ValueError("expected times with contains only")
        if self.in_order is not None and len(self.in_order) < _FEWEST:
            raise ValueError("expected at least two patterns in_order")
        return self

    @property
    def hosts(self) -> tuple[tuple[tuple[str | int, ...], str], ...]:
        """The host, if one is named."""
        return () if self.on is None else ((("on",), self.on),)

    @property
    def wanted(self) -> str:
        """Which lines."""
        if self.in_order is not None:
            quoted = (f"'{each}'" for each in self.in_order)
            return f"contains in order {', '.join(quoted)}"
        if self.contains is None:
            return f"lacks '{self.lacks}'"
        times = "" if self.times is None else f" {self.times.often}"
        return f"contains '{self.contains}'{times}"

    def __str__(self) -> str:
        return f"log{f' on {self.on}' if self.on else ''} {self.wanted}"


class Api(Kind):
    """A route of the control plane, and how many calls it has."""

    route: Route = Field(description="Method and template: `POST /sweeps/{name}/runs/next`.")
    calls: Count = Field(description="How many calls.")
    status: int | None = Field(
        default=None, ge=200, le=599, description="Only those that were answered so."
    )

    @property
    def wanted(self) -> str:
        """How many."""
        return self.calls.of("call")

    def __str__(self) -> str:
        status = "" if self.status is None else f" answered {self.status}"
        return f"{self.route}{status} has {self.wanted}"


def _event_name(value: str) -> str:
    if not re.fullmatch(r"[\w.:/-]+", value):
        raise ValueError("expected an event's name, such as train.step")
    # A trainer may have events of its own, so only what is as good as a known name is refused.
    if value not in EVENTS and (known := difflib.get_close_matches(value, EVENTS, 1, 0.92)):
        raise ValueError(f"nobody emits it; did you mean {known[0]}?")
    return value


EventName = Annotated[str, AfterValidator(_event_name)]
Where = dict[str, Value]
_WHERE = "What its fields must be, by name: `{trial: 1, node: sweep-worker}`."


class Moment(Part):
    """An event by its name, and what its fields must be."""

    event: EventName = Field(description="Its name, such as handoff.sent.")
    where: Where = Field(default_factory=dict, description=_WHERE)

    def __str__(self) -> str:
        return f"{self.event}{conditions(self.where)}"


def conditions(where: Mapping[str, Value]) -> str:
    """Write conditions in words."""
    told = ", ".join(f"{key}={value}" for key, value in where.items())
    return f" ({told})" if told else ""


def _moment(value: Any) -> Any:
    return {"event": value} if isinstance(value, str) else value


class Events(Kind):
    """Events that happen, never happen, or happen in an order and within a time."""

    happens: EventName | None = Field(default=None, description="It happens.")
    never: EventName | None = Field(default=None, description="It does not happen.")
    in_order: (
        Annotated[
            tuple[
                Annotated[Moment, BeforeValidator(_moment, json_schema_input_type=str | Moment)],
                ...,
            ],
            Field(strict=False),
        ]
        | None
    ) = Field(default=None, description="These happen one after another.")
    where: Where = Field(default_factory=dict, description=_WHERE)
    times: Count | None = Field(
        default=None, description="How often it happens. Default: at least once."
    )
    within: Duration | None = Field(
        default=None, description="The longest from the first to the last of in_order."
    )
    each: Literal["trial"] | None = Field(
        default=None, description="It must hold for each trial that began, by itself."
    )

    @model_validator(mode="after")
    def _say_one_thing(self) -> Self:
        if sum(said is not None for said in (self.happens, self.never, self.in_order)) != 1:
            raise ValueError("expected one of happens, never and in_order")
        if self.times is not None and self.happens is None:
            raise ValueError("expected times with happens only")
        if self.within is not None and self.in_order is None:
            raise ValueError("expected within with in_order only")
        if self.in_order is not None and len(self.in_order) < _FEWEST:
            raise ValueError("expected at least two events in_order")
        return self

    @property
    def hosts(self) -> tuple[tuple[tuple[str | int, ...], str], ...]:
        """The nodes that conditions name."""
        moments = enumerate(self.in_order or ())
        found: list[tuple[tuple[str | int, ...], Where]] = [
            (("where", "node"), self.where),
            *((("in_order", index, "where", "node"), each.where) for index, each in moments),
        ]
        named = ((path, where.get("node")) for path, where in found)
        return tuple((path, host) for path, host in named if isinstance(host, str))

    @property
    def wanted(self) -> str:
        """What happens."""
        rest = conditions(self.where) + ("" if self.each is None else " for each trial")
        if self.in_order is not None:
            limit = "" if self.within is None else f" within {time(self.within)}"
            return f"{' before '.join(map(str, self.in_order))}{rest}{limit}"
        if self.never is not None:
            return f"{self.never}{rest} never happens"
        times = "" if self.times is None else f" {self.times.often}"
        return f"{self.happens}{rest} happens{times}"

    def __str__(self) -> str:
        return f"events: {self.wanted}"


class Wandb(Kind):
    """What stands in a trial's offline W&B run: the sandbox's, or else the trainer's own."""

    of: Which = Field(
        default="all", description="Which trials: all, any, best, first, last, or a number from 1."
    )
    rank: int | None = Field(
        default=None,
        ge=0,
        description="The rank whose own runs are meant. Default: the sandbox's run of the trial; "
        "where that does not hold, all runs that the trainer tracked itself.",
    )
    history: Count | None = Field(default=None, description="How many rows its history has.")
    summary: dict[str, Wanted] = Field(
        default_factory=dict, description="Values of its summary by dotted key, or bounds."
    )
    config: dict[str, Wanted] = Field(
        default_factory=dict, description="Values of its config by dotted key, or bounds."
    )

    @model_validator(mode="after")
    def _say_something(self) -> Self:
        if self.history is None and not self.summary and not self.config:
            raise ValueError("expected history, summary or config")
        return self

    @property
    def wanted(self) -> str:
        """Which content."""
        words = [] if self.history is None else [f"{self.history.of('row')} of history"]
        words += [f"summary {key} {tell(value)}" for key, value in self.summary.items()]
        words += [f"config {key} {tell(value)}" for key, value in self.config.items()]
        return ", ".join(words)

    def __str__(self) -> str:
        rank = "" if self.rank is None else f"rank {self.rank} in "
        return f"W&B run of {rank}{whose(self.of)} has {self.wanted}"
