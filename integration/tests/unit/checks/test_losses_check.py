"""Ranks' losses are held against each other step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from metta_sandbox.checks.evaluation import evaluate

if TYPE_CHECKING:
    from tests.unit.checks.conftest import Played


def judged(played: Played, losses: dict[tuple[int, int], float], **said: Any) -> tuple[str, str]:
    for trial in (1, 2):
        for (step, rank), loss in losses.items():
            who = {"trial": trial, "run": f"basic.r.{trial}", "rank": rank}
            played.emit("train.step", rank, **who, step=step, loss=loss)
    result = evaluate(played.evidence({"losses": said}))[0]
    return result.verdict.value, result.detail


@pytest.mark.parametrize(
    ("other", "said", "verdict", "detail"),
    [
        (0.5, {}, "passed", "equal on 2 ranks at 2 steps of trial 1"),
        (0.5001, {}, "failed", "step 2: expected the same loss on all ranks, saw 0.5 on rank 0, 0"),
        (0.5001, {"within": "1%"}, "passed", "at 2 steps of trial 2"),
        (float("nan"), {"within": "1%"}, "failed", "nan on rank 1"),
        (0.5, {"field": "cost"}, "inconclusive", "no rank told a cost in trial 1"),
        (0.5, {"of": 3}, "failed", "expected trial 3, saw none"),
    ],
)
def test_the_first_rank_is_the_measure(
    played: Played, other: float, said: dict[str, Any], verdict: str, detail: str
) -> None:
    played.scenario["sweep"] = {"trials": 3}
    found = judged(played, {(1, 0): 1.0, (1, 1): 1.0, (2, 0): 0.5, (2, 1): other}, **said)

    assert found[0] == verdict, found
    assert detail in found[1]


def test_a_rank_that_tells_nothing_is_not_equal(played: Played) -> None:
    verdict, detail = judged(played, {(1, 0): 1.0, (1, 1): 1.0, (2, 0): 0.5})

    assert verdict == "failed"
    assert "step 2: expected a loss of each rank, saw none of 1" in detail
