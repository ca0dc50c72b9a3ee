"""Why a trial failed: the cause before what came of it."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest

from metta_sandbox.node.handoff import Outcome, why
from metta_sandbox.node.launchers.base import GroupSpec
from metta_sandbox.node.trial import train

RAISED = "rank 1 exited with status 1, saying: ValueError: the data of shard 1 is broken"
ALONE = "rank 0 exited with status 1, saying: Connection closed by peer [127.0.0.1]:1234"


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        (["", ""], ""),
        (["", RAISED], RAISED),
        ([ALONE, RAISED], f"{RAISED}; {ALONE}"),
        ([f"stopped, as {RAISED}", RAISED], RAISED),
        (["rank 0 was killed by signal 15", RAISED], f"{RAISED}; rank 0 was killed by signal 15"),
        ([f"stopped, as {RAISED}", ""], f"stopped, as {RAISED}"),
        ([RAISED, RAISED], RAISED),
    ],
)
def test_the_cause_comes_first_and_once(reasons: list[str], said: str) -> None:
    assert why(Outcome(rank, {}, reason) for rank, reason in enumerate(reasons)) == said


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (1, "rank 1 exited with status 1, saying: ValueError: enough"),
        (-15, f"stopped, as {ALONE}"),
        (143, f"stopped, as {ALONE}"),
    ],
)
def test_a_rank_that_failed_by_itself_before_it_could_be_stopped_says_why(
    tmp_path: Path, status: int, said: str
) -> None:
    (tmp_path / "rank-1.log").write_text("ValueError: enough\n")
    spec = GroupSpec("trial-1", ("x",), 2, 1, "sweep-master", 1, tmp_path)
    end = {"type": "exit", "status": 1, "ranks": [{"rank": 1, "status": status}]}
    workers = Mock(next=Mock(side_effect=[None, end]))
    group = Mock(failure=Mock(return_value=ALONE), is_pruned=Mock(return_value=False))

    outcome = train(Mock(launch=Mock(return_value=workers)), spec, group, 1, Mock())

    workers.stop.assert_called_once()
    assert outcome == Outcome(1, {1: status}, said)


@pytest.mark.parametrize(
    ("status", "last_words", "said"),
    [
        (-15, "", ""),
        (1, "RuntimeError: Connection closed by peer [127.0.0.1]:1234", ""),
        (1, "ValueError: enough", "rank 1 exited with status 1, saying: ValueError: enough"),
    ],
)
def test_a_rank_of_a_pruned_trial_has_failed_only_by_itself(
    tmp_path: Path, status: int, last_words: str, said: str
) -> None:
    (tmp_path / "rank-1.log").write_text(f"{last_words}\n")
    spec = GroupSpec("trial-1", ("x",), 2, 1, "sweep-master", 1, tmp_path)
    end = {"type": "exit", "status": 1, "ranks": [{"rank": 1, "status": status}]}
    workers = Mock(next=Mock(side_effect=[None, end]))
    group = Mock(is_pruned=Mock(return_value=True))

    outcome = train(Mock(launch=Mock(return_value=workers)), spec, group, 1, Mock())

    workers.stop.assert_called_once()
    group.failure.assert_not_called()
    assert outcome == Outcome(1, {1: status}, said)


def test_one_of_two_ranks_that_failed_by_itself_says_why(tmp_path: Path) -> None:
    (tmp_path / "rank-2.log").write_text("ValueError: enough\n")
    spec = GroupSpec("trial-1", ("x",), 2, 1, "sweep-master", 1, tmp_path, ranks_per_node=2)
    ranks = [{"rank": 2, "status": 1}, {"rank": 3, "status": -15}]
    workers = Mock(next=Mock(side_effect=[None, {"type": "exit", "status": 1, "ranks": ranks}]))
    group = Mock(failure=Mock(return_value=ALONE), is_pruned=Mock(return_value=False))

    outcome = train(Mock(launch=Mock(return_value=workers)), spec, group, 1, Mock())

    assert outcome.reason.startswith("rank 2 exited with status 1, saying: ValueError: enough")
