"""What can never be is refused when the file is checked; what most likely won't is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from metta_sandbox.errors import InputError
from metta_sandbox.scenario.loading import parse
from metta_sandbox.scenario.model import Scenario

RETRIED = "sweep: {trials: 2, retries: 2}\n"
RUN = "workload: {run: x}\n"
OWN = "workload: {trainer: {command: x, ranks_per_node: 2, score: {source: none}}}\n"


def read(text: str, item: str) -> Scenario:
    return parse(f"version: 1\nname: x\n{text}expect: [{{{item}}}]\n", Path("x.yaml"))


@pytest.mark.parametrize(
    ("text", "item", "said"),
    [
        (
            "",
            "trials: {completed: 3}",
            "expect[0].trials.completed: at most 2 can complete: sweep.",
        ),
        (RETRIED, "trials: {completed: {at_least: 3}}", "sweep.trials is 2, and sweep.retries 2"),
        ("", "trials: {failed: 3}", "trials.failed: at most 2 can be: sweep.trials is 2"),
        ("", "trials: {completed: 2, failed: 1}", "at most 0 can be beside 2 completed"),
        (RETRIED, "trials: {completed: 1, failed: 6}", "at most 5 can be beside 1 completed"),
        ("", "score: {of: 9, above: 0}", "score.of: there are 2 runs at most"),
        ("sweep: {trials: 1}\n", "duration: {of: 2, at_most: 1s}", "there are 1 run at most"),
        ("", "run_names: {values: [x.r.1, x.r.2, x.r.3]}", "run_names.values: there are 2 runs"),
        ("", "exits: {status: 0, rank: 7}", "exits.rank: there is no rank 7 among 2 ranks"),
        (OWN, "exits: {status: 0, rank: 4}", "no rank 4 among 4 ranks"),
        (RUN, "exits: {status: 0, rank: 2}", "no rank 2 among 2 ranks"),
        ("", "events: {happens: train.stopped}", "events.happens: nobody emits train.stopped; did"),
        ("", "events: {in_order: [run.named, zzz]}", "events.in_order[1]: nobody emits zzz"),
    ],
)
def test_what_can_never_be_is_refused(text: str, item: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read(text, item)
    (problem,) = caught.value.problems
    assert said in problem.message


@pytest.mark.parametrize(
    ("text", "item"),
    [
        ("", "trials: {completed: 2, failed: 0}"),
        (RETRIED, "trials: {completed: {at_most: 9}, failed: 4}"),
        (RETRIED, "trials: {completed: 2, failed: 4}"),
        (RETRIED, "score: {of: 6, above: 0}"),
        ("sweep: {resume: latest}\n", "score: {of: 9, above: 0}"),
        (OWN, "exits: {status: 0, rank: 3}"),
        (RUN, "trials: {completed: 9}"),
    ],
)
def test_what_can_be_is_taken(text: str, item: str) -> None:
    assert read(text, item).cautions == ()


def test_events_that_only_a_trainer_can_emit_are_told() -> None:
    for text in (OWN, RUN):
        (caution,) = read(text, "events: {never: train.stopped}").cautions
        assert caution.startswith("expect[0].events: only what you bring can emit train.stopped; d")


def test_a_trainer_whose_score_is_not_said_is_told() -> None:
    text = "workload: {trainer: {command: x}}\nsweep: {metric: loss}\n"
    (caution,) = read(text, "trials: {completed: 2}").cautions
    assert caution.startswith(
        "workload.trainer.score: not said, so the last event that carries los"
    )
