"""What whoever watches is told of a sweep, from its events."""

from __future__ import annotations

from typing import Any

from metta_sandbox.play.narrator import Narrator
from metta_sandbox.timeline.recording import Timeline


def test_a_failed_trial_is_told_with_the_rank_that_ended_first(timeline: Timeline) -> None:
    told: list[str] = []
    narrator = Narrator(told.append)

    def hear(event: str, **fields: Any) -> None:
        narrator.take(timeline.event({"event": event, **fields}))

    trial = {"trial": 1, "run": "x.r.1"}
    hear("handoff.sent", **trial)
    for rank, node in enumerate(("sweep-master", "sweep-worker")):
        hear("rank.exited", group="trial-1", rank=rank, node=node, status=0 if rank == 0 else 9)
    hear("rank.exited", group="trial-1", rank=0, node="sweep-master", status=1)
    hear("observation.recorded", **trial, failed=True, reason="out of memory")
    hear("observation.recorded", trial=2, run="x.r.2", score=1.5)

    failed = "trial 1 (x.r.1) failed, rank 1 on sweep-worker first: out of memory"
    assert told == [
        "trial 1 (x.r.1): handed off to all nodes",
        failed,
        "trial 2 (x.r.2): score 1.5",
    ]
    assert narrator.failures == [failed]


def test_the_first_trial_is_timed_from_the_start(timeline: Timeline) -> None:
    narrator = Narrator(lambda _: None)
    over = {"event": "observation.recorded", "trial": 1, "run": "x.r.1", "score": 1.0}
    narrator.take(timeline.event(over))
    assert narrator.first_trial is None
    narrator.began()
    narrator.take(timeline.event(over))
    first = narrator.first_trial
    narrator.take(timeline.event(over))
    assert first is not None
    assert narrator.first_trial == first
