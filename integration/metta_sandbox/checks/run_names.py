"""Run names: one for each trial, in order, as the control plane gave them."""

from __future__ import annotations

import re

from metta_sandbox.checks.api import given_names
from metta_sandbox.checks.evidence import Evidence
from metta_sandbox.checks.judgement import Finding, Judgement, judge, unlike
from metta_sandbox.scenario.expect import RunNames

_TAIL = re.compile(r"(?<!\d)(\d+)$")


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


def expect(expected: RunNames, evidence: Evidence) -> Judgement:
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
