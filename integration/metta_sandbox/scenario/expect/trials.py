"""What must hold of trials: counts, names, overrides, digests, scores, checkpoints, exits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator
from typing_extensions import Self

from metta_sandbox.scenario.base import Part
from metta_sandbox.scenario.expect.bounds import Count, Kind, Level, Wanted, Which, tell, whose
from metta_sandbox.scenario.units import Pattern

_OF = "Which trials: all, any, best, first, last, or a number from 1."


class Trials(Kind):
    """How many trials end in which way."""

    completed: Count | None = Field(default=None, description="Trials that trained and scored.")
    failed: Count | None = Field(
        default=None, description="Trials that began and did not complete, pending ones too."
    )
    pending: Count | None = Field(
        default=None, description="Trials that began and whose end nobody recorded."
    )

    @model_validator(mode="after")
    def _say_something(self) -> Self:
        if self.completed is None and self.failed is None and self.pending is None:
            raise ValueError("expected completed, failed or pending")
        return self

    @property
    def wanted(self) -> str:
        """How many of which."""
        parts = (("completed", self.completed), ("failed", self.failed), ("pending", self.pending))
        return ", ".join(f"{bounds} {what}" for what, bounds in parts if bounds is not None)

    def __str__(self) -> str:
        return f"trials: {self.wanted}"


class RunNames(Kind):
    """The run names that trials get."""

    unique: bool = Field(default=True, description="No two trials have the same.")
    in_order: bool = Field(
        default=True, description="Their numbers rise: `<sweep>.r.1` before `<sweep>.r.2`."
    )
    pattern: Pattern | None = Field(
        default=None, description="Each name as a whole matches this regular expression."
    )
    values: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = Field(
        default=None, description="The names, in this order."
    )

    @model_validator(mode="after")
    def _say_something(self) -> Self:
        if not self.unique and not self.in_order and self.pattern is None and self.values is None:
            raise ValueError("expected unique, in_order, pattern or values")
        return self

    @property
    def wanted(self) -> str:
        """Which of it must hold."""
        words = ["unique"] * self.unique + ["in order"] * self.in_order
        if self.pattern is not None:
            words.append(f"like '{self.pattern}'")
        if self.values is not None:
            words.append(f"exactly {', '.join(self.values)}")
        return " and ".join(words)

    def __str__(self) -> str:
        return f"run names are {self.wanted}"


class Overrides(Kind):
    """What settings trials train with, and on which nodes."""

    of: Which = Field(default="all", description=_OF)
    equal: bool = Field(default=True, description="The same on all nodes as rank 0 sent them.")
    as_suggested: bool = Field(default=True, description="What was suggested is among them.")
    values: dict[str, Wanted] = Field(
        default_factory=dict, description="By dotted key, a value or bounds."
    )

    @model_validator(mode="after")
    def _say_something(self) -> Self:
        if not self.equal and not self.as_suggested and not self.values:
            raise ValueError("expected equal, as_suggested or values")
        return self

    @property
    def wanted(self) -> str:
        """Which of it must hold."""
        words = ["equal on all ranks"] * self.equal + ["as suggested"] * self.as_suggested
        words += [f"{key} {tell(value)}" for key, value in self.values.items()]
        return ", ".join(words)

    def __str__(self) -> str:
        return f"overrides of {whose(self.of)}: {self.wanted}"


class Digests(Kind):
    """The digests of ranks' parameters at the end of a trial. A plain word is ``are``."""

    are: Literal["equal", "different"] = Field(
        default="equal", description="Equal on all ranks, or different on some."
    )
    of: Which = Field(default="all", description=_OF)

    @property
    def wanted(self) -> str:
        """How they compare."""
        return "equal on all ranks" if self.are == "equal" else "different on some ranks"

    def __str__(self) -> str:
        return f"digests of {whose(self.of)} are {self.wanted}"


class ScoreLevel(Level, Kind):
    """Where the scores of completed trials must be."""

    of: Which = Field(default="all", description=_OF)

    @property
    def wanted(self) -> str:
        """Where it must be."""
        return self.range

    def __str__(self) -> str:
        return f"score of {whose(self.of)} is {self.wanted}"


class CostLevel(ScoreLevel):
    """The costs of trials that are over, failed ones too."""

    def __str__(self) -> str:
        return f"cost of {whose(self.of)} is {self.wanted}"


class Checkpoint(Kind):
    """The checkpoints that completed trials leave. A plain word is ``state``."""

    state: Literal["present", "loadable"] = Field(
        default="loadable",
        description="There and not empty; or also read by torch, on the first node.",
    )
    of: Which = Field(default="all", description=_OF)
    file: str = Field(
        default="checkpoint.pt",
        min_length=1,
        description="Its name in the trial's folder; * stands for any letters.",
    )

    @field_validator("file")
    @classmethod
    def _is_inside(cls, value: str) -> str:
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or "**" in value or not path.name:
            raise ValueError("expected a file's name, or a path from the trial's folder")
        return value

    @property
    def wanted(self) -> str:
        """What it must be."""
        return self.state

    def __str__(self) -> str:
        return f"{self.file} of {whose(self.of)} is {self.wanted}"


def _statuses(value: Any) -> Any:
    if value == "nonzero":
        return value
    found = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if not found or any(not isinstance(one, int) or isinstance(one, bool) for one in found):
        raise ValueError("expected an exit status, a list of some, or nonzero")
    return found


Statuses = Annotated[
    tuple[int, ...] | str,
    BeforeValidator(_statuses, json_schema_input_type=int | list[int] | Literal["nonzero"]),
]


class Exits(Kind):
    """How ranks' processes end; with ``workload.run``, how its commands do."""

    status: Statuses = Field(
        description="The exit status, some of them, or nonzero. -9 is killed by SIGKILL."
    )
    of: Which = Field(default="all", description=_OF)
    rank: int | None = Field(default=None, ge=0, description="Of this rank. Default: all.")
    node: str | None = Field(default=None, description="Of this node's ranks. Default: all nodes'.")

    @property
    def hosts(self) -> tuple[tuple[tuple[str | int, ...], str], ...]:
        """The node, if one is named."""
        return () if self.node is None else ((("node",), self.node),)

    def hold(self, status: int) -> bool:
        """Tell whether a status is one of those allowed."""
        return status != 0 if isinstance(self.status, str) else status in self.status

    @property
    def wanted(self) -> str:
        """Which status."""
        if isinstance(self.status, str):
            return "a status other than 0"
        return f"status {' or '.join(map(str, self.status))}"

    def __str__(self) -> str:
        who = "every rank" if self.rank is None else f"rank {self.rank}"
        place = "" if self.node is None else f" on {self.node}"
        return f"{who}{place} of {whose(self.of)} exits with {self.wanted}"


def word_for(key: str, model: type[Part]) -> BeforeValidator:
    """Let a plain word stand for a mapping that says nothing but one key."""

    def read(value: Any) -> Any:
        return value if isinstance(value, (Mapping, Part)) else {key: value}

    return BeforeValidator(read, json_schema_input_type=str | model)
