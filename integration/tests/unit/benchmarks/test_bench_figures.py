from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import kept
from benchmarks.outcome import FASTEST_PEER, ContestOutcome, Entry, Goal, fastest_peer, judge, ratio

ENTRIES = (
    Entry("ours", "ours", "", (0.4, 0.5, 9.0), ({}, {}, {})),
    Entry("slow peer", "peer", "", (8.0, 10.0), ({}, {})),
    Entry("fast peer", "peer", "", (6.0, 5.0), ({}, {})),
    Entry("floor", "floor", "", (0.2,), ({},)),
    Entry("broken peer", "peer", "", (0.1,), ({},), reason="fell over in round 2"),
    Entry("absent peer", "peer", "", reason="not to be had"),
)


def by_name(name: str) -> Entry:
    return next(entry for entry in ENTRIES if entry.name == name)


def test_median_is_not_moved_by_one_outlier_and_lies_between_two() -> None:
    assert by_name("ours").median == 0.5
    assert by_name("fast peer").median == 5.5


def test_who_failed_in_one_round_has_no_median() -> None:
    assert by_name("broken peer").median is None
    assert by_name("absent peer").median is None


def test_fastest_peer_is_neither_the_floor_nor_one_that_failed() -> None:
    assert fastest_peer(ENTRIES) is by_name("fast peer")
    assert fastest_peer(ENTRIES[:1]) is None


def test_ratio_is_of_medians() -> None:
    assert ratio(by_name("ours"), by_name("fast peer")) == pytest.approx(0.5 / 5.5)
    assert ratio(by_name("ours"), None) is None
    assert ratio(by_name("ours"), by_name("absent peer")) is None


@pytest.mark.parametrize(
    ("goal", "met", "figure"),
    [
        (Goal("ours", "at_most", 0.5), True, "0.50"),
        (Goal("ours", "at_most", 0.49), False, "0.50"),
        (Goal("ours", "times_faster", 11, FASTEST_PEER), True, "11.0 times"),
        (Goal("ours", "times_faster", 11.1, FASTEST_PEER), False, "11.0 times"),
        (Goal("ours", "times_faster", 18, "slow peer"), True, "18.0 times"),
        (Goal("ours", "at_most_times", 2.5, "floor"), True, "2.50 times"),
        (Goal("ours", "at_most_times", 2.4, "floor"), False, "2.50 times"),
        (Goal("absent peer", "at_most", 1), None, "not measured"),
        (Goal("ours", "times_faster", 1, "absent peer"), None, "not measured"),
        (Goal("ours", "at_most_times", 1, "broken peer"), None, "not measured"),
    ],
)
def test_goals(goal: Goal, met: bool | None, figure: str) -> None:
    judged = judge(goal, ENTRIES)
    assert (judged.met, judged.figure) == (met, figure)


def test_goal_of_somebody_unknown_is_a_mistake() -> None:
    with pytest.raises(LookupError):
        judge(Goal("nobody", "at_most", 1), ENTRIES)


def kept_run(taken: str, *keys: str, quick: bool = False) -> kept.Kept:
    judged = (judge(Goal("ours", "at_most", 0.5), ENTRIES),)
    outcomes = tuple(ContestOutcome(key, "title", "note", "s", ENTRIES, judged) for key in keys)
    return kept.Kept(taken, quick, {"cores": "2"}, {"torch": "2"}, outcomes)


def test_what_is_kept_is_read_back_whole(tmp_path: Path) -> None:
    run = kept_run("2026-11-22T10:00:00+00:00", "trial")
    kept.write(run, tmp_path / "new" / "run.json")
    assert kept.read(tmp_path / "new" / "run.json") == run


def test_latest_of_each_contest_counts_and_rows_keep_their_order() -> None:
    whole = kept_run("2026-11-22T10:00:00+00:00", "trial", "sweep")
    again = kept_run("2026-11-22T11:00:00+00:00", "trial")
    chosen = kept.latest([again, whole])
    assert [(run.taken, outcome.key) for run, outcome in chosen] == [
        (again.taken, "trial"),
        (whole.taken, "sweep"),
    ]


def test_quick_try_never_takes_the_place_of_a_whole_run() -> None:
    whole = kept_run("2026-11-22T10:00:00+00:00", "trial")
    quick = kept_run("2026-11-22T11:00:00+00:00", "trial", "sweep", quick=True)
    chosen = kept.latest([whole, quick])
    assert {outcome.key: run for run, outcome in chosen} == {"trial": whole, "sweep": quick}
