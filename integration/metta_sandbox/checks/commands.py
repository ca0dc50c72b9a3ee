"""The user's own command ended well on every node."""

from __future__ import annotations

from metta_sandbox.checks.evidence import Evidence
from metta_sandbox.checks.judgement import Judgement, judge


def check(evidence: Evidence) -> Judgement:
    """Check that every node's command exited with status 0."""
    statuses = {event.get("node"): event.get("status") for event in evidence.of("command.exited")}
    problems = [
        f"{host}: expected exit status 0, saw {statuses.get(host, 'no end of its command')}"
        for host in evidence.scenario.hosts
        if statuses.get(host) != 0
    ]
    return judge(problems, f"exited with status 0 on {evidence.scenario.nodes} nodes")
