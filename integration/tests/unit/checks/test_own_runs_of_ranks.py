"""W&B runs that a trainer's ranks track themselves: whose score counts, and what is expected."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from metta_sandbox.checks.evaluation import evaluate
from metta_sandbox.node.score import NoScoreError, TrialOutput, find_score
from metta_sandbox.scenario.workload import ScoreSource

Track = Callable[..., None]


@pytest.fixture
def track(
    framed: Callable[[list[bytes]], bytes], wandb_records: Callable[..., list[bytes]]
) -> Track:
    """Leave a run with this loss."""

    def track(folder: Path, run: str, loss: float, *, started: int = 100, over: int = 200) -> None:
        file = folder / "wandb" / f"offline-run-{run}" / f"run-{run}.wandb"
        file.parent.mkdir(parents=True)
        file.write_bytes(framed(wandb_records(run, summary={"loss": loss}, started=started)))
        os.utime(file, (over, over))

    return track


def score(folder: Path, rank: int | None = None) -> float:
    left = TrialOutput(folder, folder, 0.0, {})
    return find_score(ScoreSource(source="wandb_summary", rank=rank), "loss", left)


def test_the_one_rank_that_tracks_counts(track: Track, tmp_path: Path) -> None:
    track(tmp_path / "rank-1", "b", 0.5)

    assert score(tmp_path) == 0.5
    assert score(tmp_path, rank=1) == 0.5
    with pytest.raises(NoScoreError, match="a W&B run of rank 0"):
        score(tmp_path, rank=0)


def test_ranks_that_tell_the_same_agree(track: Track, tmp_path: Path) -> None:
    track(tmp_path / "rank-0", "a", 0.5)
    track(tmp_path / "rank-1", "b", 0.5)

    assert score(tmp_path) == 0.5


def test_ranks_that_tell_different_values_are_listed_unless_one_is_named(
    track: Track, tmp_path: Path
) -> None:
    track(tmp_path / "rank-0", "a", 0.5)
    track(tmp_path / "rank-1", "b", 100.5, over=300)
    track(tmp_path, "c", 7.0)

    with pytest.raises(NoScoreError) as caught:
        score(tmp_path)
    listed = "rank 0 0.5 (run-a), rank 1 100.5 (run-b), some rank 7 (run-c)"
    assert f"{listed}; workload.trainer.score.rank says whose counts" in caught.value.message
    assert score(tmp_path, rank=0) == 0.5
    assert score(tmp_path, rank=1) == 100.5


def test_of_one_rank_the_run_that_it_began_last_counts(track: Track, tmp_path: Path) -> None:
    track(tmp_path / "rank-0", "a", 0.5, started=100, over=200)
    track(tmp_path / "rank-0", "b", 0.25, started=201, over=300)

    assert score(tmp_path) == 0.25


def test_two_runs_of_one_rank_at_once_are_listed(track: Track, tmp_path: Path) -> None:
    track(tmp_path / "rank-0", "a", 0.5, started=100, over=200)
    track(tmp_path / "rank-0", "b", 0.25, started=150, over=300)

    with pytest.raises(NoScoreError, match=r"rank 0 0\.25"):
        score(tmp_path, rank=0)


@pytest.mark.parametrize(
    ("wandb", "verdict", "said"),
    [
        ({"summary": {"loss": 0.5}, "rank": 0, "of": 1}, "passed", "loss 0.5"),
        ({"summary": {"loss": {"above": 99}}, "rank": 1, "of": 1}, "passed", "loss 100.5"),
        ({"summary": {"loss": 0.5}, "rank": 1, "of": 1}, "failed", "expected 0.5, saw 100.5"),
        # Without a rank all that tracked must have it, or else the sandbox's own run.
        ({"summary": {"loss": {"above": 0}}, "of": 1}, "passed", "loss"),
        ({"summary": {"loss": 0.5}, "of": 1}, "failed", "saw 100.5"),
        ({"summary": {"reward": 1.5}, "of": 1}, "passed", "reward 1.5"),
        ({"summary": {"loss": 0.5}, "rank": 0, "of": 2}, "failed", "rank 0's own, saw none"),
    ],
)
def test_an_expectation_sees_them(
    played: Any, track: Track, wandb: Mapping[str, Any], verdict: str, said: str
) -> None:
    track(played.folder / "trials/basic.r.1/rank-0", "a", 0.5)
    track(played.folder / "trials/basic.r.1/rank-1", "b", 100.5)

    result = evaluate(played.evidence({"wandb": wandb}))[0]

    assert (result.verdict, said in result.detail) == (verdict, True), result
