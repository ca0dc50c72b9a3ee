"""Run names: one for each trial, in order, as the control plane gave them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator
from typing_extensions import Self

from metta_sandbox.scenario.base import Misfit
from metta_sandbox.scenario.expect.judgement import Finding, Judgement, judge, unlike
from metta_sandbox.scenario.expect.kind import CheckKind, CheckPair
from metta_sandbox.scenario.expect.kinds.api import given_names
from metta_sandbox.scenario.search import Sweep
from metta_sandbox.scenario.units import Pattern
from metta_sandbox.scenario.workload import Workload
from metta_sandbox.words import many

if TYPE_CHECKING:
    from metta_sandbox.checks.evidence import Evidence

_TAIL = re.compile(r"(?<!\d)(\d+)$")


class RunNamesCheck(CheckKind):
    """The run names that trials get."""

    key = "run_names"
    about = "Run names are unique, in order, of a pattern, or these."
    example = "run_names: {values: [basic.r.1, basic.r.2]}"

    unique: bool = Field(default=True, description="No two trials have the same.")
    in_order: bool = Field(
        default=True,
        description="Their numbers rise: `<sweep>.r.1` before `<sweep>.r.2`. What this item asks "
        "for replaces the standing check of run names.",
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
    def voids(self) -> frozenset[str]:
        """The standing check of run names, whose place this one takes."""
        return frozenset({"run names"})

    @property
    def wanted(self) -> str:
        """What of the run names must hold."""
        words = ["unique"] * self.unique + ["in order"] * self.in_order
        if self.pattern is not None:
            words.append(f"like '{self.pattern}'")
        if self.values is not None:
            words.append(f"exactly {', '.join(self.values)}")
        return " and ".join(words)

    def impossible(self, _ranks: int, workload: Workload, sweep: Sweep) -> Iterator[Misfit]:
        """Find more names than there are runs."""
        if workload.run is None and len(self.values or ()) > sweep.runs:
            yield ("values",), f"there are {many(sweep.runs, 'run')} at most: {sweep.why_so_many}"

    def __str__(self) -> str:
        return f"run names are {self.wanted}"


def check(evidence: Evidence) -> Judgement:
    """Check the names of ``run.named`` events for shape, order, and who gave them."""
    sweep = evidence.scenario.sweep.name
    if not evidence.named:
        return judge(["no trial ever got a run name: the timeline has no run.named"], "")
    problems = _twice(evidence)
    shape = re.compile(rf"{re.escape(sweep)}\.r\.([1-9]\d*)")
    numbers: list[int] = []
    for name in evidence.named:
        match = shape.fullmatch(name)
        if match is None:
            problems.append(f"expected a name like {sweep}.r.1, saw {name!r}")
        else:
            numbers.append(int(match[1]))
    if numbers != sorted(numbers):
        problems.append(f"expected names in order, saw {', '.join(evidence.named)}")
    given = given_names(evidence)
    problems += [
        f"the control plane never gave out {name!r} (api/requests.jsonl)"
        for name in dict.fromkeys(evidence.named)
        if name not in given
    ]
    places = [evidence.place_of(event) for event in evidence.of("run.named")]
    found = [Finding(problem, "timeline.jsonl") for problem in problems]
    return judge(found, ", ".join(evidence.named), places)


def expect(expected: RunNamesCheck, evidence: Evidence) -> Judgement:
    """Check what is asked of the names; of a command of the user's, those it was given."""
    own = evidence.scenario.workload.run is not None
    names = given_names(evidence) if own else evidence.named
    source = "api/requests.jsonl" if own else "timeline.jsonl"
    if not names:
        return judge([Finding("no trial ever got a run name", source)], "")
    problems: list[Finding] = []
    if expected.unique and not own:
        problems += (Finding(problem, source) for problem in _twice(evidence))
    if expected.in_order:
        numbers = [int(match[1]) if (match := _TAIL.search(name)) else -1 for name in names]
        if -1 in numbers or numbers != sorted(numbers):
            problems.append(unlike("run names", "rising numbers", ", ".join(names), source))
    if expected.pattern is not None:
        alike = evidence.matcher.matches([expected.pattern], names, whole=True)
        good = {match.index for match in alike}
        problems += (
            unlike("run name", f"one like '{expected.pattern}'", repr(name), source)
            for index, name in enumerate(names)
            if index not in good
        )
    if expected.values is not None and expected.values != tuple(names):
        wanted, seen = ", ".join(expected.values), ", ".join(names)
        problems.append(unlike("run names", wanted, seen, source))
    named = [] if own else [evidence.place_of(event) for event in evidence.of("run.named")]
    return judge(problems, ", ".join(names), named or [source])


def _twice(evidence: Evidence) -> list[str]:
    return [
        f"{name!r} was given to {evidence.named.count(name)} trials"
        for name in dict.fromkeys(evidence.named)
        if evidence.named.count(name) > 1
    ]


CHECK = CheckPair(RunNamesCheck, expect)
