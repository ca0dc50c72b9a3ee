"""The hand-off: every node trains the run, with the overrides, that rank 0 sent."""

from __future__ import annotations

from collections.abc import Iterator

from metta_sandbox.checks.evidence import Evidence
from metta_sandbox.checks.judgement import Finding, Judgement, differences, flat, judge
from metta_sandbox.scenario.overrides import abridged
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
            f"{_place(event)} got a hand-off of trial {event.get('trial')} that rank 0 never sent",
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
    title, received = _title(sent), _received(evidence, sent)
    reached = {event.get("node_rank") for event in received}
    for rank, host in enumerate(evidence.scenario.hosts):
        if rank not in reached:
            yield f"{title}: rank 0 sent it at +{sent.received:.3f}s; {host} never received it"
    yield from _as_sent(sent, received, title)
    yield from _as_written(evidence, sent, title)
    yield from _without_suggestion(evidence, sent, title)


def unequal(evidence: Evidence, sent: Event) -> Iterator[str]:
    """Tell where overrides that nodes received, or the file of them, differ from what was sent."""
    title = _title(sent)
    received = _received(evidence, sent)
    for rank, host in enumerate(evidence.scenario.hosts):
        if rank not in {event.get("node_rank") for event in received}:
            yield f"{title}: {host} never received what rank 0 sent"
    yield from _as_sent(sent, received, title)
    yield from _as_written(evidence, sent, title)


def unlike_suggestion(evidence: Evidence, sent: Event) -> Iterator[str]:
    """Tell what of a suggestion was not sent."""
    return _without_suggestion(evidence, sent, _title(sent))


def _title(sent: Event) -> str:
    return f"trial {sent.get('trial')} ({sent.get('run')})"


def _received(evidence: Evidence, sent: Event) -> list[Event]:
    return [e for e in evidence.of("handoff.received") if e.get("trial") == sent.get("trial")]


def _as_sent(sent: Event, received: list[Event], title: str) -> Iterator[str]:
    for event in received:
        for field in ("run", "wandb_run_id"):
            if event.get(field) != sent.get(field):
                yield (
                    f"{title}: {_place(event)} received {field} {event.get(field)!r}, "
                    f"rank 0 sent {sent.get(field)!r}"
                )
        for difference in differences(_overrides(sent), _overrides(event)):
            yield f"{title}: {_place(event)} received another {difference}"


def _as_written(evidence: Evidence, sent: Event, title: str) -> Iterator[str]:
    run = str(sent.get("run"))
    for difference in differences(_overrides(sent), abridged(evidence.overrides(run))):
        yield f"{title}: trials/{run}/overrides.json has another {difference}"


def _without_suggestion(evidence: Evidence, sent: Event, title: str) -> Iterator[str]:
    made = [e for e in evidence.of("suggestion.made") if e.get("trial") == sent.get("trial")]
    if not made:
        yield f"{title}: no suggestion.made came before it"
        return
    suggestion = flat(made[-1].get("suggestion") or {})
    handed = {key: value for key, value in _overrides(sent).items() if key in suggestion}
    for difference in differences(suggestion, handed):
        yield f"{title}: the suggestion is not what was handed off: {difference}"


def _overrides(event: Event) -> dict[str, object]:
    return flat(event.get("overrides") or {})


def _place(event: Event) -> str:
    return f"{event.get('node')} at +{event.received:.3f}s"
