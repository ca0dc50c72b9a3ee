"""The user's own command ended well on every node."""

from __future__ import annotations

from metta_sandbox.checks.evidence import Evidence
from metta_sandbox.scenario.expect.judgement import Judgement, judge, unlike
from metta_sandbox.words import many


def check(evidence: Evidence) -> Judgement:
    """Check that every node's command exited with status 0."""
    statuses = {event.get("node"): event.get("status") for event in evidence.of("command.exited")}
    problems = [
        unlike(host, "exit status 0", str(statuses.get(host, "no end of its command")))
        for host in evidence.scenario.hosts
        if statuses.get(host) != 0
    ]
    places = (evidence.place_of(event) for event in evidence.of("command.exited"))
    nodes = many(evidence.scenario.nodes, "node")
    return judge(problems, f"exited with status 0 on {nodes}", places)
