"""How much of something there may be: counts, numbers with a tolerance, and which trials."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema, model_validator
from typing_extensions import Self

from metta_sandbox.scenario.base import Part
from metta_sandbox.scenario.units import Amount
from metta_sandbox.scenario.values import Value


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

    def of(self, noun: str) -> str:
        """Write the bounds with what is counted: ``at most 1 call``."""
        last = [each for each in (self.at_least, self.at_most, self.equals) if each is not None][-1]
        return f"{self} {noun}{'' if last == 1 else 's'}"

    @property
    def often(self) -> str:
        """The bounds as how often something happens: ``at least once``."""
        return re.sub(r"\b1 time$", "once", self.of("time"))

    def __str__(self) -> str:
        if self.equals is not None:
            return f"exactly {self.equals}"
        parts = [("at least", self.at_least), ("at most", self.at_most)]
        return " and ".join(f"{word} {number}" for word, number in parts if number is not None)


def _count(value: Any) -> Any:
    return {"equals": value} if isinstance(value, int) and not isinstance(value, bool) else value


Count = Annotated[Bounds, BeforeValidator(_count, json_schema_input_type=int | Bounds)]
"""Whole numbers: a plain one, or bounds."""

_PERCENT = re.compile(r"(\d+(?:\.\d+)?) ?%")


def _tolerance(value: Any) -> Any:
    if isinstance(value, str) and (match := _PERCENT.fullmatch(value)):
        return f"{match[1]}%"
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise ValueError("expected a tolerance: a share such as 10%, or a number from 0")
    try:
        return float(value)
    except OverflowError:
        raise ValueError("expected a tolerance that is not that large") from None


Tolerance = Annotated[float | str, BeforeValidator(_tolerance, json_schema_input_type=float | str)]
"""How far from a value another may be: ``10%`` of it, or a number in its unit."""


def near(number: float, value: float, tolerance: float | str) -> bool:
    """Tell whether a number is a value, give or take a tolerance. A NaN never is."""
    if isinstance(tolerance, str):
        tolerance = abs(value) * float(tolerance.removesuffix("%")) / 100
    return abs(number - value) <= tolerance


class Level(Part):
    """Where a number may be."""

    value: Amount | None = Field(default=None, description="The number itself.")
    within: Tolerance | None = Field(
        default=None,
        description="How far from value it may be: `10%` of it, or a number. Default: not at all.",
    )
    at_least: Amount | None = Field(default=None, description="The lowest allowed.")
    at_most: Amount | None = Field(default=None, description="The highest allowed.")
    above: Amount | None = Field(default=None, description="It must be higher.")
    below: Amount | None = Field(default=None, description="It must be lower.")

    @model_validator(mode="after")
    def _say_something(self) -> Self:
        edges = (self.at_least, self.above, self.at_most, self.below)
        if self.value is not None:
            if any(edge is not None for edge in edges):
                raise ValueError("expected either value, or at_least, at_most, above and below")
            return self
        if self.within is not None:
            raise ValueError("expected value beside within")
        lows = [low for low in edges[:2] if low is not None]
        highs = [high for high in edges[2:] if high is not None]
        if not lows and not highs:
            raise ValueError("expected at_least, at_most, above, below or value")
        if len(lows) > 1 or len(highs) > 1:
            raise ValueError("expected one of at_least and above, and one of at_most and below")
        if lows and highs and lows[0] > highs[0]:
            raise ValueError("expected the lower bound to be no higher than the upper one")
        return self

    def hold(self, number: float) -> bool:
        """Tell whether a number is one of those allowed. A NaN never is."""
        if self.value is not None:
            return near(number, self.value, self.within or 0.0)
        return (
            number == number  # noqa: PLR0124 - which a NaN is not
            and (self.at_least is None or number >= self.at_least)
            and (self.at_most is None or number <= self.at_most)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
        )

    @property
    def range(self) -> str:
        """What is allowed, in words."""
        if self.value is not None:
            tolerance = self.within
            given = f"{tolerance:g}" if isinstance(tolerance, float) else tolerance
            return f"{self.value:g}" + (f" within {given}" if tolerance else "")
        words = {"at least": self.at_least, "above": self.above}
        words |= {"at most": self.at_most, "below": self.below}
        told = (f"{word} {number:g}" for word, number in words.items() if number is not None)
        return " and ".join(told)

    def __str__(self) -> str:
        return self.range


def _form(value: Any) -> str:
    return "bounds" if isinstance(value, (Level, Mapping)) else "plain"


Wanted = Annotated[
    Annotated[Level, Tag("bounds")]
    | Annotated[
        Value,
        WithJsonSchema({"type": ["string", "number", "boolean", "null", "array"]}),
        Tag("plain"),
    ],
    Discriminator(_form),
]
"""A value as it must be, or the bounds of a number."""


def tell(wanted: Level | Value) -> str:
    """Write in words what a value must be."""
    return str(wanted) if isinstance(wanted, Level) else repr(wanted)


_WORDS = ("all", "any", "best", "first", "last")


def _which(value: Any) -> Any:
    number = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if not number and value not in _WORDS:
        raise ValueError(f"expected {', '.join(_WORDS)} or a trial's number from 1")
    return value


Which: TypeAlias = Annotated[
    str | int,
    BeforeValidator(
        _which,
        json_schema_input_type=Literal["all", "any", "best", "first", "last"]
        | Annotated[int, Field(ge=1)],
    ),
]
"""Which trials are meant."""

#: How that is documented.
OF = "Which trials: all, any, best, first, last, or a number from 1."


def whose(of: str | int) -> str:
    """Say of which trials something must hold."""
    if isinstance(of, int):
        return f"trial {of}"
    return {"all": "every trial", "any": "some trial"}.get(of, f"the {of} trial")
