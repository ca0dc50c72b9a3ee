"""Every answer that the scenario prescribes was given: what it is to show has happened."""

from __future__ import annotations

from collections import Counter

from metta_sandbox.checks.evidence import Evidence
from metta_sandbox.scenario.expect.judgement import Judgement, judge
from metta_sandbox.verdict import Verdict
from metta_sandbox.words import many


def check(evidence: Evidence) -> Judgement:
    """Check that every prescription took the calls it names. One that did not proves nothing."""
    given = Counter(call.rule for call in evidence.api_calls if call.scripted)
    routes = Counter(f"{call.method} {call.route}" for call in evidence.api_calls)
    missed = [
        f"services.api[{number - 1}] never happened: {rule}; "
        f"that route had {many(routes[rule.route], 'call')}"
        for number, rule in enumerate(evidence.scenario.services.api, 1)
        if not given[number]
    ]
    if missed:
        return Judgement(Verdict.INCONCLUSIVE, "\n".join(missed))
    return judge([], f"{many(sum(given.values()), 'answer')} given as prescribed")
