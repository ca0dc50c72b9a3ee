"""Autopsies while a scenario is played: what is asked of nodes, kept and told."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from metta_sandbox.play.examiner import FILE_NAME, Examiner
from metta_sandbox.play.node_commands import Executed
from metta_sandbox.probes.look_at_processes import pack
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.timeline.recording import Timeline

MASTER, WORKER = "sweep-master", "sweep-worker"
FAILED = {"event": "observation.recorded", "node": MASTER, "trial": 1, "failed": True}


class Nodes:
    """Answers for nodes: writes what each shows to where an examiner looks for it."""

    def __init__(self, run_folder: Path, shown: Mapping[str, Any]) -> None:
        self.run_folder, self.shown = run_folder, shown
        self.asked: dict[str, list[str]] = {}

    def __call__(
        self, _group: str, commands: Mapping[str, Sequence[str]], _patience: float
    ) -> dict[str, Executed]:
        self.asked = {host: list(command) for host, command in commands.items()}
        for host, shown in self.shown.items():
            (self.run_folder / f".autopsy-{host}.json").write_text(json.dumps(shown))
        return {host: Executed(0) for host in commands}


def examiner(timeline: Timeline, execute: Any) -> tuple[Examiner, list[str]]:
    told: list[str] = []
    scenario = Scenario.model_validate({"version": 1, "name": "x"})
    folder = timeline.path.parent
    made = Examiner(
        scenario, timeline, run_folder=folder, python="py", execute=execute, tell=told.append
    )
    return made, told


def rank(number: int, pid: int) -> dict[str, Any]:
    node = (MASTER, WORKER)[number]
    return {
        "event": "rank.started",
        "group": "trial-1",
        "rank": number,
        "process": pid,
        "node": node,
    }


def showing(pid: int, file: str, line: int, function: str = "main") -> dict[str, Any]:
    frame = {"function": function, "file": file, "line": line, "source": "x"}
    return {"processes": [{"pid": pid, "threads": [{"name": "MainThread", "frames": [frame]}]}]}


def test_all_nodes_that_are_left_are_asked_and_what_they_showed_is_kept(
    timeline: Timeline, tmp_path: Path
) -> None:
    for event in (rank(0, 100), rank(1, 101)):
        timeline.event(event)
    c10d = "/x/site-packages/torch/distributed/distributed_c10d.py"
    shown = {MASTER: showing(100, c10d, 1, "barrier"), WORKER: showing(101, "/w/train.py", 9)}
    nodes = Nodes(tmp_path, shown)
    made, told = examiner(timeline, nodes)

    made.sweep_broke({})
    made.keep(tmp_path)

    assert set(nodes.asked) == {MASTER, WORKER}
    assert nodes.asked[MASTER][-2:] == ["100", "101"]
    (cause,) = made.causes
    assert (cause.kind, cause.rank) == ("straggler", 1)
    assert told == [cause.told]
    kept = json.loads((tmp_path / FILE_NAME).read_text())
    assert kept["causes"][0]["rank"] == 1
    assert set(kept["looks"][0]["nodes"]) == {MASTER, WORKER}
    assert not list(tmp_path.glob(".autopsy*"))


def test_a_node_that_has_no_room_to_write_is_seen_all_the_same(
    timeline: Timeline, tmp_path: Path
) -> None:
    for event in (rank(0, 100), rank(1, 101)):
        timeline.event(event)
    c10d = "/x/site-packages/torch/distributed/distributed_c10d.py"
    nodes = Nodes(tmp_path, {MASTER: showing(100, c10d, 1, "barrier")})

    def execute(group: str, commands: Mapping[str, Sequence[str]], patience: float) -> Any:
        packed = json.dumps({"packed": pack(showing(101, "/w/train.py", 9))})
        return {**nodes(group, commands, patience), WORKER: Executed(0, (packed,))}

    made, _ = examiner(timeline, execute)
    made.sweep_broke({})

    (cause,) = made.causes
    assert (cause.kind, cause.rank) == ("straggler", 1)


def test_a_lost_node_is_not_asked(timeline: Timeline, tmp_path: Path) -> None:
    nodes = Nodes(tmp_path, {})
    made, told = examiner(timeline, nodes)
    made.sweep_broke({WORKER: "was killed by signal 9"})
    assert set(nodes.asked) == {MASTER}
    assert told[0].startswith("sweep-worker was killed by signal 9")


def test_a_trial_that_failed_is_explained_by_its_ranks_logs(
    timeline: Timeline, tmp_path: Path
) -> None:
    log = tmp_path / "trials" / "x.r.1" / "rank-1.log"
    log.parent.mkdir(parents=True)
    log.write_text(
        'Traceback (most recent call last):\n  File "/w/t.py", line 3, in f\nValueError: no\n'
    )
    for event in (rank(0, 100), rank(1, 101)):
        timeline.event({**event, "run": "x.r.1", "trial": 1})
    timeline.event(
        {"event": "rank.exited", "group": "trial-1", "rank": 1, "node": WORKER, "status": 1}
    )
    made, told = examiner(timeline, Nodes(tmp_path, {}))

    made.take(timeline.event({**FAILED, "failed": False}))
    assert told == []
    made.take(timeline.event(FAILED))

    assert told == [
        (
            "rank 1 (sweep-worker) raised ValueError: no in `f`, t.py:3 in trial 1 "
            "(certain: exit status, exception)"
        ),
    ]


def test_a_rollout_s_last_words_are_read_from_the_timeline(
    timeline: Timeline, tmp_path: Path
) -> None:
    timeline.line(MASTER, "sweep", "sweep: POST http://x/runs/next answered 401: no")
    timeline.event({"event": "command.exited", "node": MASTER, "group": "sweep", "status": 1})
    made, told = examiner(timeline, Nodes(tmp_path, {}))
    made.sweep_broke({})
    assert made.causes[0].kind == "API refused"
    assert "answered 401: no" in told[0]


def test_an_autopsy_that_breaks_is_noted_and_nothing_else(
    timeline: Timeline, tmp_path: Path
) -> None:
    def broken(*_: Any) -> dict[str, Executed]:
        raise RuntimeError("out of order")

    made, told = examiner(timeline, broken)
    made.sweep_broke({})
    made.keep(tmp_path)
    assert (made.causes, told) == ((), [])
    assert "out of order" in timeline.path.read_text()
    assert not (tmp_path / FILE_NAME).exists()


def test_a_trial_in_which_a_node_was_lost_failed_of_that(
    timeline: Timeline, tmp_path: Path
) -> None:
    gone = {"event": "node.lost", "node": WORKER, "how": "was killed by signal 9"}
    sent = {"event": "handoff.sent", "node": MASTER}
    for event in ({**sent, "trial": 1}, gone, {**sent, "trial": 2}):
        timeline.event(event)
    made, told = examiner(timeline, Nodes(tmp_path, {}))

    made.take(timeline.event({**FAILED, "trial": 2}))
    made.take(timeline.event(FAILED))

    assert [cause.kind for cause in made.causes] == ["node lost"]
    assert told[0].startswith("sweep-worker was killed by signal 9 in trial 1")


@pytest.mark.parametrize("says", ["ValueError: no", "sweep: POST /x answered 500", ""])
def test_who_brought_the_others_down_may_say_why_after_they_have_ended(
    timeline: Timeline, tmp_path: Path, says: str
) -> None:
    def prints(node: str, words: str) -> None:
        call = '  File "/w/metta_sandbox/node/rollout.py", line 3, in main'
        traceback = ["Traceback (most recent call last):", call]
        for line in (*(traceback if "Error" in words else []), words):
            timeline.line(node, "sweep", line)

    lost = "torch.distributed.DistNetworkError: Failed to recv. Connection was likely closed."
    prints(WORKER, lost)
    timeline.event({"event": "command.exited", "node": WORKER, "group": "sweep", "status": 1})
    nodes, looks = Nodes(tmp_path, {}), []

    def execute(group: str, commands: Mapping[str, Sequence[str]], patience: float) -> Any:
        looks.append(group)
        if len(looks) == 2 and says:
            prints(MASTER, says)
            if "500" in says:
                end = {"event": "command.exited", "node": MASTER, "group": "sweep", "status": 1}
                timeline.event(end)
        return nodes(group, commands, patience)

    made, _ = examiner(timeline, execute)
    made.sweep_broke({})

    assert len(looks) == 2
    (cause,) = made.causes
    if says:
        assert "the command of rank 0 (sweep-master)" in cause.sentence
        assert says in cause.sentence
    else:
        assert (cause.rank, cause.certainty) == (None, "unknown")
