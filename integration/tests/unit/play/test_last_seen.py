"""What is told of who was last heard of."""

from __future__ import annotations

from typing import Any

from metta_sandbox.node.agent.messages import Lines
from metta_sandbox.play.last_seen import LastSeen, is_sign_of_life
from metta_sandbox.timeline.recording import Event, Line


def _heard(*events: dict[str, Any]) -> LastSeen:
    heard = LastSeen()
    for number, fields in enumerate(events):
        heard.note(Event(float(number), fields))
    return heard


HOSTS = ("sweep-master", "sweep-worker")
STARTS = [{"event": "rollout.started", "node": host, "group": "sweep"} for host in HOSTS]
SENT = {"event": "handoff.sent", "node": HOSTS[0], "group": "sweep", "trial": 2, "run": "x.r.2"}


def _rank(event: str, rank: int, **more: Any) -> dict[str, Any]:
    return {"event": event, "node": HOSTS[rank], "rank": rank, "group": "trial-2", **more}


def test_each_rank_that_lives_is_told_with_its_trial() -> None:
    heard = _heard(
        *map(dict, STARTS),
        dict(SENT),
        _rank("rank.started", 0),
        _rank("rank.started", 1),
        _rank("train.step", 0, step=3),
    )
    assert heard.describe(HOSTS) == (
        " in trial 2 (x.r.2); last heard of rank 0 on sweep-master: train.step 3 at 5.0 s, "
        "rank 1 on sweep-worker: rank.started at 4.0 s"
    )


def test_nodes_without_ranks_and_silent_ones_are_told_too() -> None:
    heard = _heard(dict(STARTS[0]))
    assert heard.describe(HOSTS) == (
        "; last heard of sweep-master: rollout.started at 0.0 s, sweep-worker: nothing"
    )


def test_what_a_node_printed_counts_as_heard() -> None:
    heard = _heard(dict(STARTS[0]))
    heard.note_line(Line(7.0, HOSTS[0], "sweep", "[W1128] connecting"))
    heard.note_line(Line(3.0, HOSTS[1], "sweep", "hello"))
    assert heard.describe(HOSTS) == (
        "; last heard of sweep-master: a line at 7.0 s, sweep-worker: a line at 3.0 s"
    )


def test_ranks_that_ended_and_trials_that_are_over_are_not() -> None:
    over = {"event": "observation.recorded", "node": HOSTS[0], "group": "sweep", "trial": 2}
    heard = _heard(
        *map(dict, STARTS), dict(SENT), _rank("rank.started", 1), _rank("rank.exited", 1), over
    )
    assert heard.describe(HOSTS[1:]) == "; last heard of sweep-worker: rank.exited at 4.0 s"


AGAIN = "[W1123 09:26:33.08 socket.cpp:764] [c10d] The client socket cannot connect; trying again."


def test_to_try_again_in_vain_is_no_sign_of_life() -> None:
    def lines(*lines: str) -> Lines:
        return {"type": "lines", "node": HOSTS[1], "source": "rank-1", "lines": list(lines)}

    assert not is_sign_of_life(lines(AGAIN, f"[rank1]:{AGAIN}"))
    assert is_sign_of_life(lines(AGAIN, "epoch 3"))
    assert is_sign_of_life(lines("[W1123 09:26:33.08 mkldnn.cpp:7] slow"))
    assert is_sign_of_life(lines("my [c10d] epoch 3"))
    assert is_sign_of_life({"type": "event", "record": {"event": "train.step"}, "held": []})
