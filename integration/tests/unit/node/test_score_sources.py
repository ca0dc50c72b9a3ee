"""Where a trial's score is found, and what is said when it isn't."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from metta_sandbox.node.score import NoScoreError, TrialOutput, find_score
from metta_sandbox.scenario.workload import ScoreSource


def left(folder: Path, began: float = 0.0, **told: Any) -> TrialOutput:
    (folder / "cwd").mkdir(exist_ok=True)
    return TrialOutput(folder, folder / "cwd", began, told)


def test_an_event_carries_it(tmp_path: Path) -> None:
    assert find_score(ScoreSource(source="event"), "reward", left(tmp_path, reward=1.5)) == 1.5
    assert (
        find_score(ScoreSource(source="event", key="loss"), "reward", left(tmp_path, loss=2)) == 2
    )


def test_no_event_carries_it(tmp_path: Path) -> None:
    with pytest.raises(NoScoreError, match=r"expected reward in train\.step .* events, saw none"):
        find_score(ScoreSource(source="event"), "reward", left(tmp_path))


def test_the_last_line_that_matches_counts(tmp_path: Path) -> None:
    (tmp_path / "rank-0.log").write_text("loss=3\nloss=1e-2\nlossless\n")
    score = ScoreSource(source="log", pattern=r"loss=(\S+)")

    assert find_score(score, "loss", left(tmp_path)) == 0.01


def test_a_pattern_that_takes_for_ever_finds_none(tmp_path: Path) -> None:
    (tmp_path / "rank-0.log").write_text("aaa\n" + "a" * 40 + "!\n")
    said = r"rank-0\.log:2: the pattern .* within 5 s \(workload\.trainer\.score\.pattern\)"

    with pytest.raises(NoScoreError, match=said):
        find_score(ScoreSource(source="log", pattern="^((a+)+)$"), "loss", left(tmp_path))


def test_the_ends_of_lines_count_as_in_text(tmp_path: Path) -> None:
    (tmp_path / "rank-0.log").write_bytes(b"loss=3\r\nloss=2\rloss=1")

    assert (
        find_score(ScoreSource(source="log", pattern=r"^loss=(\d)\n"), "loss", left(tmp_path)) == 2
    )


@pytest.mark.parametrize(
    ("text", "said"), [("", "saw none"), ("loss=low\n", "'low' is no number"), (None, "rank-0.log")]
)
def test_a_log_without_it(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "rank-0.log").write_text(text)

    with pytest.raises(NoScoreError, match=said):
        find_score(ScoreSource(source="log", pattern=r"loss=(\S+)"), "loss", left(tmp_path))


@pytest.mark.parametrize("place", ["cwd/out.json", "out.json"])
def test_a_file_is_found_in_either_folder(tmp_path: Path, place: str) -> None:
    about = left(tmp_path)
    (tmp_path / place).write_text(json.dumps({"eval": {"acc": 0.75}}))

    assert (
        find_score(ScoreSource(source="json", path="out.json", key="eval.acc"), "x", about) == 0.75
    )


def test_a_file_of_the_trial_before_does_not_count(tmp_path: Path) -> None:
    about = left(tmp_path, began=1000.0)
    (tmp_path / "cwd/out.json").write_text('{"x": 1}')
    os.utime(tmp_path / "cwd/out.json", (900, 900))

    with pytest.raises(NoScoreError, match="older than the trial"):
        find_score(ScoreSource(source="json", path="out.json"), "x", about)


@pytest.mark.parametrize(("text", "said"), [("{", "not JSON"), ('{"x": null}', "saw none")])
def test_a_file_without_it(tmp_path: Path, text: str, said: str) -> None:
    about = left(tmp_path)
    (tmp_path / "cwd/out.json").write_text(text)

    with pytest.raises(NoScoreError, match=said):
        find_score(ScoreSource(source="json", path="$METTA_TRIAL_DIR/cwd/out.json"), "x", about)


def test_no_run_was_tracked(tmp_path: Path) -> None:
    with pytest.raises(NoScoreError, match="there is none"):
        find_score(ScoreSource(source="wandb_summary"), "x", left(tmp_path))


def test_none_is_asked_for(tmp_path: Path) -> None:
    assert find_score(ScoreSource(source="none"), "x", left(tmp_path)) == 0.0
