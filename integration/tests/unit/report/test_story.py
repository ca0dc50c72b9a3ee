from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from metta_sandbox.report.story import PageLimits, Story, _parsed, tell


def event(name: str, at: float, node: str = "sweep-master", **fields: Any) -> dict[str, Any]:
    return {"event": name, "node": node, "group": "sweep", **fields, "received": at}


def trained(trial: int, rank: int, at: float, **step: Any) -> dict[str, Any]:
    node = ("sweep-master", "sweep-worker")[rank]
    about = {"rank": rank, "node_rank": rank, "trial": trial, "run": f"s.r.{trial}"}
    return event("train.step", at, node, **about, **step)


def trial(number: int, at: float, *, failed: bool = False) -> list[dict[str, Any]]:
    run = f"s.r.{number}"
    common: dict[str, Any] = {"rank": 0, "node_rank": 0, "trial": number}
    rank: dict[str, Any] = {"rank": 1, "trial": number, "run": run}
    exited: dict[str, Any] = {"status": 1 if failed else 0, "rank": 1}
    worker = "sweep-worker"
    score: dict[str, Any] = {"reason": "rank 1 raised"} if failed else {"score": 1.5}
    return [
        event("suggestion.made", at, **common, suggestion={"lr": 0.1 * number}),
        event("run.named", at + 0.1, **common, run=run),
        event("handoff.sent", at + 0.2, **common, run=run),
        event("handoff.received", at + 0.3, worker, node_rank=1, rank=1, trial=number, run=run),
        event("rank.started", at + 0.4, worker, rank=1, group=f"trial-{number}"),
        event("train.started", at + 0.5, worker, **rank, group=f"trial-{number}"),
        *(trained(number, 1, at + 1 + step / 10, step=step, loss=1 / step) for step in (1, 2, 3)),
        event("train.finished", at + 2, worker, **rank, group=f"trial-{number}"),
        event("rank.exited", at + 2.1, worker, **exited, group=f"trial-{number}"),
        event("observation.recorded", at + 3, **common, run=run, failed=failed, **score),
    ]


def told(*entries: Mapping[str, Any], limits: PageLimits | None = None) -> dict[str, Any]:
    story = Story(limits or PageLimits())
    for entry in entries:
        story.add(entry)
    return story.to_json()


def test_lanes_stand_in_the_order_of_ranks_whatever_came_first() -> None:
    found = told(
        event("api.request", 0, "dummy-api", status=200),
        event("rollout.started", 1, "sweep-worker-2", node_rank=2, rank=2),
        event("rollout.started", 1, "sweep-worker", node_rank=1, rank=1),
        event("rollout.started", 1, node_rank=0, rank=0),
        {"step": "ready", "received": 1},
        *trial(1, 2),
    )
    assert [lane["id"] for lane in found["lanes"]] == [
        "trials",
        "harness",
        "sweep-master",
        "sweep-worker",
        "sweep-worker#1",
        "sweep-worker-2",
        "dummy-api",
    ]


def test_a_rollouts_events_are_its_nodes_and_a_trainers_its_ranks() -> None:
    found = told(*trial(1, 0))
    kinds = {(marks["lane"], marks["kind"]) for marks in found["marks"]}
    assert ("sweep-worker", "hand-off") in kinds
    assert ("sweep-worker#1", "step") in kinds
    assert ("sweep-worker#1", "hand-off") not in kinds


def test_trials_are_bands_with_their_names_and_outcomes() -> None:
    found = told(*trial(1, 0), *trial(2, 10, failed=True), *trial(3, 20)[:-1])
    bands = [band for band in found["bands"] if band["kind"] == "trial"]
    assert [(band["label"], band["status"]) for band in bands] == [
        ("s.r.1", "completed"),
        ("s.r.2", "failed"),
        ("s.r.3", "unfinished"),
    ]
    assert (bands[0]["start"], bands[0]["end"], bands[0]["text"]) == (0, 3, "score 1.5")
    assert bands[1]["text"] == "rank 1 raised"
    assert bands[2]["end"] == found["duration"] == 22.1


def test_a_rank_that_failed_is_a_failed_band_and_a_failure() -> None:
    found = told(*trial(1, 0, failed=True))
    (process,) = (band for band in found["bands"] if band["kind"] == "process")
    assert (process["lane"], process["status"]) == ("sweep-worker#1", "failed")
    assert {marks["lane"] for marks in found["marks"] if marks["kind"] == "failure"} == {
        "sweep-worker#1",
        "sweep-master",
    }


def test_a_control_plane_that_broke_is_a_failure_and_an_unknown_sweep_is_none() -> None:
    found = told(
        event("api.request", 0, "dummy-api", status=404),
        event("api.request", 1, "dummy-api", status=503),
    )
    assert [(one["kind"], len(one["points"])) for one in found["marks"]] == [
        ("request", 1),
        ("failure", 1),
    ]


def test_a_fault_lasts_from_its_strike_to_its_healing_on_the_node_it_hits() -> None:
    fault = {"fault": "pause", "detail": {"node": "sweep-worker", "kind": "pause"}}
    found = told(
        *trial(1, 0),
        {**fault, "action": "struck", "received": 2},
        {**fault, "action": "seen", "received": 3},
        {"fault": "pause", "action": "healed", "detail": {}, "received": 5},
    )
    (band,) = (band for band in found["bands"] if band["kind"] == "fault")
    assert (band["lane"], band["start"], band["end"]) == ("sweep-worker", 2, 5)
    marked = sum(len(one["points"]) for one in found["marks"] if one["kind"] == "fault")
    assert marked == 3


def test_curves_are_by_metric_trial_and_rank_and_say_where_they_broke() -> None:
    found = told(
        *trial(1, 0), trained(1, 0, 5, step=1, loss=2.0), trained(1, 0, 6, step=2, loss="NaN")
    )
    first, second = found["curves"]["loss"]
    assert (first["run"], first["who"], first["points"], first["broken"]) == (
        "s.r.1",
        "rank 0",
        [[1, 2.0]],
        2,
    )
    assert (second["who"], second["points"], second["broken"]) == (
        "rank 1",
        [[1, 1.0], [2, 0.5], [3, 0.333333]],
        None,
    )


def test_of_too_many_curves_those_of_each_trials_first_rank_are_kept() -> None:
    found = told(*(trained(trial, 0, 1, step=1, loss=1.0) for trial in range(150)))
    assert (len(found["curves"]["loss"]), found["fewer_curves"]) == (150, False)
    both = (trained(trial, rank, 1, step=1, loss=1.0) for trial in range(150) for rank in (1, 0))
    found = told(*both, trained(7, 1, 2, step=2, loss="NaN"))
    assert found["fewer_curves"]
    curves = [one for one in found["curves"]["loss"] if one["points"]]
    assert [one["trial"] for one in curves] == list(range(150))
    assert {one["who"] for one in curves} == {"rank 0"}
    (broken,) = (one for one in found["curves"]["loss"] if one["broken"])
    assert (broken["trial"], broken["who"]) == (7, "rank 1")


def test_what_was_suggested_is_known_by_run_also_of_failed_trials() -> None:
    found = told(*trial(1, 0), *trial(2, 5, failed=True))
    assert found["suggestions"] == {"s.r.1": {"lr": 0.1}, "s.r.2": {"lr": 0.2}}


def test_logs_are_in_the_timelines_order_and_leave_out_training_steps() -> None:
    found = told(
        {"step": "starting", "received": 0},
        {"line": "hello", "node": "sweep-master", "source": "rank-0", "received": 1},
        *trial(1, 2),
        {"line": "bye", "node": "sweep-worker", "source": "sweep", "received": 9},
    )
    lines = found["logs"]["lines"]
    assert [line[2] for line in lines[:2]] == ["step", "rank-0"]
    assert lines[-1] == [9, "sweep-worker", "sweep", "bye"]
    assert not any("train.step" in line[3] for line in lines)
    assert found["logs"]["left_out"] == []


def test_a_torn_timeline_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    text = "\n".join(map(json.dumps, trial(1, 0)))
    (tmp_path / "timeline.jsonl").write_text(f'{text}\n[1]\n{{"event": "tra')
    found = tell(tmp_path, PageLimits())
    assert found["unreadable"] == 2
    assert found["bands"]


def test_text_that_is_no_unicode_is_shown_all_the_same() -> None:
    story = Story(PageLimits())
    assert _parsed(b'{"line": "\\udc80", "received": 1}') == {"line": "\udc80", "received": 1}
    story.add({"line": "\udc80", "node": "n", "source": "sweep", "received": 1})
    assert json.dumps(story.to_json()["logs"]["lines"]) == '[[1.0, "n", "sweep", "\\udc80"]]'


def test_a_scenario_that_never_began_leaves_an_empty_story(tmp_path: Path) -> None:
    found = tell(tmp_path / "nothing", PageLimits())
    assert found["lanes"] == found["bands"] == found["marks"] == []


@pytest.mark.slow
def test_a_million_events_become_a_few_megabytes(tmp_path: Path) -> None:
    with (tmp_path / "timeline.jsonl").open("w") as file:
        for number in range(1_000_000):
            entry = trained(number // 250_000 + 1, number % 2, number / 1000, step=number, loss=1.0)
            file.write(json.dumps(entry) + "\n")
    text = json.dumps(tell(tmp_path, PageLimits()))
    assert len(text) < 4_000_000


def test_the_room_for_each_of_many_scenarios_is_smaller_and_never_nothing() -> None:
    limits = PageLimits()
    assert limits.shared_by(1) == limits == limits.shared_by(0)
    assert limits.shared_by(4).characters == limits.characters // 4
    assert min(vars(limits.shared_by(100_000)).values()) > 0


def test_however_much_there_is_the_picture_stays_within_its_limits() -> None:
    limits = PageLimits(marks=100, points=200, characters=5_000)
    steps = [
        trained(1, number % 2, number, step=number, loss=number % 17) for number in range(5_000)
    ]
    lines = [
        {"line": f"line {number}", "node": "sweep-master", "source": "rank-0", "received": number}
        for number in range(5_000)
    ]
    found = told(*steps, *lines, limits=limits)
    assert sum(len(one["points"]) for one in found["marks"]) <= 100
    assert sum(len(one["points"]) for curves in found["curves"].values() for one in curves) <= 204
    assert sum(len(line[3]) for line in found["logs"]["lines"]) < 6_000
    (gap,) = (line for line in found["logs"]["lines"] if line[2] == "cut")
    (left_out,) = found["logs"]["left_out"]
    assert f"{left_out['lines']:,} more lines" in gap[3]
