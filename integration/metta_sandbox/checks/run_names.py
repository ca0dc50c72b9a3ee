"""Run names: one for each trial, in order, as the control plane gave them."""

from __future__ import annotations

import re

from metta_sandbox.checks.api import given_names
from metta_sandbox.checks.evidence import Evidence
from metta_sandbox.checks.judgement import Judgement, judge


def check(evidence: Evidence) -> Judgement:
    """Check the names of ``run.named`` events for shape, order, and who gave them."""
    sweep = evidence.scenario.sweep.name
    if not evidence.named:
        return judge(["no trial ever got a run name: the timeline has no run.named"], "")
    problems = [
        f"{name!r} was given to {evidence.named.count(name)} trials"
        for name in dict.fromkeys(evidence.named)
        if evidence.named.count(name) > 1
    ]
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
    return judge(problems, ", ".join(evidence.named))
