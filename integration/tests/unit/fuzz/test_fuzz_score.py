from __future__ import annotations

from typing import Any

from fuzz.program import Truth
from fuzz.score import score

SLEEPS = Truth("sleeps", ranks=(1,), lines=("train.py:31",))
EITHER = Truth("skips", ranks=(0, 1), open=True, both=(0, 1), lines=("train.py:31",))
HEALTHY = Truth("healthy", place=False)


def cause(sentence: str, rank: int | None, **more: Any) -> dict[str, Any]:
    return {"sentence": sentence, "rank": rank, **more}


def test_the_guilty_rank_and_its_line_are_right() -> None:
    assert score(SLEEPS, "failed", [cause("rank 1 sleeps at train.py:31: time.sleep(4)", 1)]).right
    assert score(SLEEPS, "failed", [cause("rank 1 sleeps", 1, call="train.py:31")]).right


def test_another_line_is_a_wrong_place() -> None:
    judged = score(SLEEPS, "failed", [cause("rank 1 sleeps at train.py:310", 1)])
    assert judged.rank
    assert not judged.place
    assert not judged.right


def test_another_rank_is_an_accusation_unless_it_is_only_likely() -> None:
    assert score(SLEEPS, "failed", [cause("rank 0 waits at train.py:31", 0)]).accused == (0,)
    unsure = score(SLEEPS, "failed", [cause("rank 0 waits at train.py:31", 0, certainty="likely")])
    assert not unsure.accused
    assert not unsure.rank


def test_a_second_cause_may_not_accuse_either() -> None:
    causes = [cause("rank 1 sleeps at train.py:31", 1), cause("rank 2 died", 2)]
    assert score(SLEEPS, "failed", causes).accused == (2,)


def test_nothing_said_is_wrong() -> None:
    assert not score(SLEEPS, "failed", []).right


def test_where_nobody_can_tell_both_ranks_are_told() -> None:
    both = "rank 0 is in `barrier`, train.py:31, rank 1 in `all_reduce`, train.py:40"
    assert score(EITHER, "failed", [cause(both, None)]).right
    assert score(EITHER, "failed", [cause(both, 0)]).right
    assert not score(EITHER, "failed", [cause("rank 0 is in `barrier`, train.py:31", 0)]).right
    waits = [{"rank": 1, "call": "all_reduce"}]
    assert score(EITHER, "failed", [cause("rank 0: train.py:31", 0, waiting=waits)]).right


def test_a_healthy_program_passes_and_has_no_cause() -> None:
    assert score(HEALTHY, "passed", []).right
    assert not score(HEALTHY, "failed", []).right
    assert score(HEALTHY, "failed", [cause("rank 0 sleeps", 0)]).accused == (0,)


def test_what_must_be_said_is_looked_for() -> None:
    truth = Truth("exits", ranks=(0,), place=False, says=r"\b17\b")
    assert score(truth, "failed", [cause("rank 0 exited with 17", 0)]).right
    assert not score(truth, "failed", [cause("rank 0 exited with 1", 0)]).right
