"""What must hold of a scenario as a whole.

How long it takes, that another did the same, and that nothing tried to reach outside.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator
from typing_extensions import Self

from metta_sandbox.scenario.base import Part
from metta_sandbox.scenario.expect.bounds import Kind, Tolerance
from metta_sandbox.scenario.units import Duration
from metta_sandbox.words import time

#: A host's name or an address, where * stands for any part of it.
_OUTSIDER = re.compile(r"[A-Za-z0-9*_.:-]+")
_PHASES = ("scenario", "up", "sweep", "trial")


def _phase(value: Any) -> Any:
    number = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if not number and value not in _PHASES:
        raise ValueError(f"expected {', '.join(_PHASES)} or a trial's number from 1")
    return value


class Took(Kind):
    """What takes time, and how much of it may."""

    of: Annotated[
        str | int,
        BeforeValidator(
            _phase,
            json_schema_input_type=Literal["scenario", "up", "sweep", "trial"]
            | Annotated[int, Field(ge=1)],
        ),
    ] = Field(
        default="scenario",
        description="The scenario until its evidence is collected; the stack until it is up; the "
        "sweep; every trial; or the trial with this number.",
    )
    at_least: Duration | None = Field(default=None, description="The shortest allowed.")
    at_most: Duration | None = Field(default=None, description="The longest allowed.")

    @model_validator(mode="after")
    def _say_something(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("expected at_least or at_most")
        if self.at_least and self.at_most and self.at_least > self.at_most:
            raise ValueError("expected at_least to be no more than at_most")
        return self

    def hold(self, seconds: float) -> bool:
        """Tell whether a time is one of those allowed."""
        low, high = self.at_least or 0.0, self.at_most
        return seconds >= low and (high is None or seconds <= high)

    @property
    def subject(self) -> str:
        """What takes so long."""
        if isinstance(self.of, int):
            return f"trial {self.of}"
        return {"up": "bringing the stack up", "trial": "every trial"}.get(
            self.of, f"the {self.of}"
        )

    @property
    def wanted(self) -> str:
        """How long."""
        parts = (("at least", self.at_least), ("at most", self.at_most))
        return " and ".join(f"{word} {time(value)}" for word, value in parts if value is not None)

    def __str__(self) -> str:
        return f"{self.subject} takes {self.wanted}"


class Ends(Kind):
    """How the sweep comes to its end. A plain word is ``how``."""

    how: Literal["finished", "node_failed", "node_lost", "silent", "overdue"] = Field(
        description="Over on all nodes; its command failed on a node; a node is lost; nothing "
        "happens for longer than longest_silence; it takes longer than its deadline."
    )

    @property
    def wanted(self) -> str:
        """Which end."""
        return self.how.replace("_", " ")

    def __str__(self) -> str:
        return f"the sweep ends {self.wanted}"


class SameAs(Kind):
    """Another scenario of the run, played before, whose trials are the same."""

    scenario: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]*$", description="Its name; of a matrix's cell, its folder's."
    )
    within: Tolerance = Field(
        default=0.0, description="How far losses and scores may be apart: `1%`, or a number."
    )
    digests: bool = Field(default=True, description="Whether parameters' digests are the same too.")
    of: Literal["all", "completed"] = Field(
        default="all",
        description="Which trials of both are compared, one by one: all, or those that completed.",
    )

    @property
    def wanted(self) -> str:
        """What is the same."""
        more = ", digests" if self.digests else ""
        close = "" if not self.within else f", losses within {self.within}"
        return f"suggestions, overrides, losses, scores{more} as {self.scenario}{close}"

    def __str__(self) -> str:
        return f"the same {self.wanted}"


class NothingOutside(Kind):
    """That no node looks up a name, or tries to reach an address, outside the stack."""

    allow: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        default=(), description="Names and addresses that may be asked for; * is any part of one."
    )

    @field_validator("allow")
    @classmethod
    def _are_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            if not _OUTSIDER.fullmatch(each):
                raise ValueError(f"expected a name or an address, where * is any part: {each!r}")
        return tuple(each.lower() for each in value)

    def allows(self, outsider: str) -> bool:
        """Tell whether a name or an address may be asked for."""
        return any(fnmatchcase(outsider, each) for each in self.allow)

    @property
    def wanted(self) -> str:
        """What must not be."""
        but = f" but {', '.join(self.allow)}" if self.allow else ""
        return f"no lookup of a name and no attempt at an address outside the stack{but}"

    def __str__(self) -> str:
        but = f" but {', '.join(self.allow)}" if self.allow else ""
        return f"nothing outside is asked for{but}"


def _plainly(value: Any) -> Any:
    if value is True:
        return {}
    if isinstance(value, (Mapping, Part)):
        return value
    raise ValueError("expected true, or allow and names that may be asked for")


PlainlyNothingOutside = Annotated[
    NothingOutside,
    BeforeValidator(_plainly, json_schema_input_type=Literal[True] | NothingOutside),
]
"""``nothing_outside: true`` is short for one that allows nothing."""
