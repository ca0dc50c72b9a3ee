"""The hand-off: every node trains the run, with the overrides, that rank 0 sent."""

from __future__ import annotations

from collections.abc import Iterator

from metta_sandbox.checks.evidence import Evidence
from metta_sandbox.scenario.expect.judgement import Finding, Judgement, judge
from metta_sandbox.scenario.expect.kinds.overrides import (
    as_sent,
    place_of,
    received_of,
    title_of,
    without_suggestion,
)
from metta_sandbox.timeline.recording import Event
from metta_sandbox.words import many


def check(evidence: Evidence) -> Judgement:
    """Compare, trial by trial, suggestion, overrides file, what was sent and what was received."""
    sent = {event.get("trial"): event for event in evidence.of("handoff.sent")}
    if not sent:
        return judge(["rank 0 never sent a hand-off: the timeline has no handoff.sent"], "")
    problems = [
        Finding(problem, evidence.place_of(event))
        for event in sent.values()
        for problem in _of_trial(evidence, event)
    ]
    problems += [
        Finding(
            f"{place_of(event)} got a hand-off of trial {event.get('trial')} "
            "that rank 0 never sent",
            evidence.place_of(event),
        )
        for event in evidence.of("handoff.received")
        if event.get("trial") not in sent
    ]
    problems += [
        Finding(
            f"trial {event.get('trial')} was named {event.get('run')}, and never handed off",
            evidence.place_of(event),
        )
        for event in evidence.of("run.named")
        if event.get("trial") not in sent
    ]
    held = f"{many(len(sent), 'trial')}, the same on {many(evidence.scenario.nodes, 'node')}"
    return judge(problems, held, (evidence.place_of(event) for event in sent.values()))


def _of_trial(evidence: Evidence, sent: Event) -> Iterator[str]:
    reached = {event.get("node_rank") for event in received_of(evidence, sent)}
    for rank, host in enumerate(evidence.scenario.hosts):
        if rank not in reached:
            when = f"rank 0 sent it at +{sent.received:.3f}s"
            yield f"{title_of(sent)}: {when}; {host} never received it"
    yield from as_sent(evidence, sent)
    yield from without_suggestion(evidence, sent)
