import itertools
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metta_sandbox.errors import MachineError
from metta_sandbox.timeline.recording import Timeline, render


@pytest.fixture
def timeline(tmp_path: Path) -> Iterator[Timeline]:
    ticks = itertools.count()
    timeline = Timeline(tmp_path / "timeline.jsonl", clock=lambda: 100 + next(ticks) / 2)
    yield timeline
    timeline.finish()


def entries(timeline: Timeline) -> list[dict[str, Any]]:
    return [json.loads(line) for line in timeline.path.read_text().splitlines()]


def test_each_kind_of_entry_has_its_key_and_seconds_since_the_run_began(timeline: Timeline) -> None:
    timeline.step("bring the stack up")
    timeline.event({"event": "train.step", "node": "sweep-worker", "pid": 1, "seq": 1, "step": 3})
    timeline.line("sweep-master", "rank-0", "loss 0.5")
    timeline.fault("kill", "struck", node="sweep-worker")
    timeline.finish()

    step, event, line, fault = entries(timeline)
    assert step == {"step": "bring the stack up", "received": 0.5}
    assert event["event"] == "train.step"
    assert (event["step"], event["received"]) == (3, 1.0)
    assert line == {"line": "loss 0.5", "node": "sweep-master", "source": "rank-0", "received": 1.5}
    assert (fault["fault"], fault["action"], fault["detail"]) == (
        "kill",
        "struck",
        {"node": "sweep-worker"},
    )


def test_entries_are_on_disk_before_the_end(timeline: Timeline) -> None:
    timeline.line("sweep-master", "sweep", "hello")

    assert entries(timeline)[0]["line"] == "hello"


def test_finish_puts_a_cause_before_its_effect_received_earlier(timeline: Timeline) -> None:
    timeline.event(
        {"event": "handoff.received", "node": "sweep-worker", "pid": 9, "seq": 1, "run": "r"}
    )
    timeline.line("sweep-worker", "sweep", "got it")
    timeline.event(
        {"event": "handoff.sent", "node": "sweep-master", "pid": 4, "seq": 1, "run": "r"}
    )
    timeline.finish()

    order = [entry.get("event", "line") for entry in entries(timeline)]
    assert order == ["line", "handoff.sent", "handoff.received"]
    log = timeline.path.with_suffix(".log").read_text().splitlines()
    assert ["handoff.sent" in line for line in log] == [False, True, False]
    assert not list(timeline.path.parent.glob("*.part"))


def test_events_are_kept_for_the_checks_in_order_of_receipt(timeline: Timeline) -> None:
    timeline.event({"event": "rollout.started", "node": "sweep-master"})
    timeline.line("sweep-master", "sweep", "hello")
    timeline.event({"event": "rollout.finished", "node": "sweep-master"})

    assert [event.name for event in timeline.events] == ["rollout.started", "rollout.finished"]


def test_text_of_any_kind_stays_one_entry_a_line(timeline: Timeline) -> None:
    odd = "a\nb\rc\u2028d \x00 \udc80 é"
    timeline.line("sweep-master", "sweep", odd)
    timeline.finish()

    raw = timeline.path.read_bytes()
    assert raw.count(b"\n") == 1
    assert json.loads(raw)["line"] == odd
    assert timeline.path.with_suffix(".log").read_bytes().count(b"\n") == 1


def test_numbers_that_json_cannot_write_are_spelt(timeline: Timeline) -> None:
    timeline.event(
        {"event": "train.step", "metrics": {"loss": float("nan"), "r": [float("inf"), 1.0]}}
    )
    timeline.finish()

    assert entries(timeline)[0]["metrics"] == {"loss": "nan", "r": ["inf", 1.0]}


def test_threads_do_not_tear_lines(timeline: Timeline) -> None:
    def write(name: str) -> None:
        for number in range(300):
            timeline.line(name, "sweep", str(number))

    threads = [threading.Thread(target=write, args=(f"n{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    timeline.finish()

    found = entries(timeline)
    assert len(found) == 1200
    assert [e["line"] for e in found if e["node"] == "n2"] == [str(n) for n in range(300)]


def test_a_disk_that_takes_no_more_is_told_at_the_end_and_events_go_on(tmp_path: Path) -> None:
    timeline = Timeline(tmp_path / "timeline.jsonl")
    assert timeline._file is not None
    timeline._file.close()
    timeline._file = open("/dev/full", "w")  # noqa: PTH123, SIM115
    timeline.event({"event": "one"})
    timeline.event({"event": "two"})

    assert len(timeline.events) == 2
    with pytest.raises(MachineError, match=r"timeline\.jsonl is incomplete: No space left"):
        timeline.finish()
    timeline.finish()


def test_columns_for_reading_are_aligned() -> None:
    event = render(
        {
            "event": "train.step",
            "node": "sweep-worker",
            "rank": 1,
            "step": 3,
            "pid": 9,
            "seq": 2,
            "metrics": {"loss": 0.5},
            "seconds": 0.12345678,
            "received": 12.3456,
        }
    )
    line = render({"line": "x" * 1000, "node": "sweep-master", "source": "rank-0", "received": 0.0})

    assert event == (
        '+    12.346s  sweep-worker    1       * train.step           step=3 metrics={"loss": 0.5} '
        "seconds=0.123457"
    )
    assert line.startswith("+     0.000s  sweep-master    rank-0    xxx")
    assert line.endswith("(1002 letters)")
    assert render({"step": "go", "received": 1}).startswith(
        "+     1.000s  harness         -       > go"
    )
