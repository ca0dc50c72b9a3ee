"""How long a scenario, its phases and its trials took."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import Self

from metta_sandbox.scenario.expect.judgement import Finding, Judgement, judge, unclear, unlike
from metta_sandbox.scenario.expect.kind import CheckKind, CheckPair
from metta_sandbox.scenario.expect.selection import across, record, title
from metta_sandbox.scenario.units import Duration
from metta_sandbox.words import time

if TYPE_CHECKING:
    from metta_sandbox.checks.evidence import Evidence, TrialRecord

_PHASES = ("scenario", "up", "sweep", "trial")


def _phase(value: Any) -> Any:
    number = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if not number and value not in _PHASES:
        raise ValueError(f"expected {', '.join(_PHASES)} or a trial's number from 1")
    return value


class DurationCheck(CheckKind):
    """What takes time, and how much of it may."""

    key = "duration"
    about = "How long the scenario or a part of it takes."
    example = "duration: {of: up, at_most: 30s}"

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
        """What takes the time, in words."""
        if isinstance(self.of, int):
            return f"trial {self.of}"
        return {"up": "bringing the stack up", "trial": "every trial"}.get(
            self.of, f"the {self.of}"
        )

    @property
    def wanted(self) -> str:
        """How long it may take."""
        parts = (("at least", self.at_least), ("at most", self.at_most))
        return " and ".join(f"{word} {time(value)}" for word, value in parts if value is not None)

    def __str__(self) -> str:
        return f"{self.subject} takes {self.wanted}"


def check(expected: DurationCheck, evidence: Evidence) -> Judgement:
    """Check a duration as the harness measured it; that of a trial, as rank 0 did."""
    if isinstance(expected.of, int) or expected.of == "trial":
        return _trials(expected, evidence)
    seconds = evidence.seconds.get(expected.of)
    if seconds is None:
        return unclear(f"{expected.subject} did not come to its end, so it has no duration")
    seen = f"{seconds:.3f} s"
    if expected.hold(seconds):
        return judge([], seen)
    return judge([unlike(expected.subject, expected.wanted, seen)], "")


def _trials(expected: DurationCheck, evidence: Evidence) -> Judgement:
    def place(trial: TrialRecord) -> str:
        return evidence.line_of(record(evidence, trial), '"seconds"')

    def look(trial: TrialRecord) -> Iterator[Finding]:
        if trial.seconds is None or not expected.hold(trial.seconds):
            seen = "none" if trial.seconds is None else f"{trial.seconds:.3f} s"
            yield unlike(title(trial), expected.wanted, seen, place(trial))

    def tell(trial: TrialRecord) -> Finding:
        return Finding(f"{trial.seconds:.3f} s of {title(trial)}", place(trial))

    of = expected.of if isinstance(expected.of, int) else "all"
    return across(evidence, of, evidence.trials, look, tell)


CHECK = CheckPair(DurationCheck, check)
