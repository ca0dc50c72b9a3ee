"""What must hold after a sweep: one small model per kind of expectation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator
from typing_extensions import Self

from metta_sandbox.scenario.base import Part
from metta_sandbox.scenario.names import suggest_host
from metta_sandbox.scenario.units import Pattern


class Bounds(Part):
    """How many of something there may be. A plain number in a file means ``equals``."""

    at_least: int | None = Field(default=None, ge=0, description="The fewest allowed.")
    at_most: int | None = Field(default=None, ge=0, description="The most allowed.")
    equals: int | None = Field(default=None, ge=0, description="The only number allowed.")

    @model_validator(mode="after")
    def _say_something(self) -> Self:
        if self.equals is not None:
            if (self.at_least, self.at_most) != (None, None):
                raise ValueError("expected either equals, or at_least and at_most")
        elif self.at_least is None and self.at_most is None:
            raise ValueError("expected at_least, at_most or equals")
        elif None not in (self.at_least, self.at_most) and self.at_least > self.at_most:  # type: ignore[operator]
            raise ValueError("expected at_least to be no more than at_most")
        return self

    def hold(self, number: int) -> bool:
        """Tell whether a number is one of those allowed."""
        if self.equals is not None:
            return number == self.equals
        low = 0 if self.at_least is None else self.at_least
        return number >= low and (self.at_most is None or number <= self.at_most)

    def __str__(self) -> str:
        if self.equals is not None:
            return f"exactly {self.equals}"
        parts = [("at least", self.at_least), ("at most", self.at_most)]
        return " and ".join(f"{word} {number}" for word, number in parts if number is not None)


def _plain(value: Any) -> Any:
    return {"equals": value} if isinstance(value, int) and not isinstance(value, bool) else value


Count = Annotated[Bounds, BeforeValidator(_plain, json_schema_input_type=int | Bounds)]


class Trials(Part):
    """How many trials end in which way."""

    completed: Count | None = Field(default=None, description="Trials that trained and scored.")
    failed: Count | None = Field(default=None, description="Trials that did not.")

    @model_validator(mode="after")
    def _say_something(self) -> Self:
        if self.completed is None and self.failed is None:
            raise ValueError("expected completed or failed")
        return self


class Log(Part):
    """A pattern that the lines of a host's log must, or must not, match."""

    contains: Pattern | None = Field(
        default=None, description="Some line matches this regular expression (Python's re.search)."
    )
    lacks: Pattern | None = Field(
        default=None, description="No line matches this regular expression."
    )
    on: str | None = Field(
        default=None, description="The host whose log is read. Default: those of all nodes."
    )

    @field_validator("on")
    @classmethod
    def _is_host(cls, value: str | None) -> str | None:
        if value is not None and (message := suggest_host(value)):
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _say_one_thing(self) -> Self:
        if (self.contains is None) == (self.lacks is None):
            raise ValueError("expected either contains or lacks")
        return self


class TrialsExpectation(Part):
    """``trials: …``."""

    trials: Trials = Field(description="How many trials completed and failed.")


class LogExpectation(Part):
    """``log: …``."""

    log: Log = Field(description="What a log says, or doesn't.")


#: Each kind of expectation under the one key that names it.
KINDS: Mapping[str, type[Part]] = {"trials": TrialsExpectation, "log": LogExpectation}


def _kind(value: Any) -> str | None:
    if isinstance(value, Part):
        return next(iter(type(value).model_fields))
    if isinstance(value, Mapping) and len(value) == 1:
        return str(next(iter(value)))
    return None


Expectation = Annotated[
    Annotated[TrialsExpectation, Tag("trials")] | Annotated[LogExpectation, Tag("log")],
    Discriminator(_kind),
]
