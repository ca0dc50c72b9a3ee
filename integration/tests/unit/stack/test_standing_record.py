"""What is remembered of a standing stack, whom it fits, and who has it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from metta_sandbox.errors import StackError
from metta_sandbox.stack import standing_record
from metta_sandbox.stack.standing_record import StandingRecord, StandingUse

RECORD = StandingRecord(
    engine="compose",
    hosts=("sweep-master", "sweep-worker"),
    hardware="macbook",
    source=None,
    python="/python",
    ready={"observatory_port": 8080, "cogweb_port": 8081},
)


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    standing_record.standing_folder().mkdir(parents=True)


def test_a_record_is_read_back_as_it_was_written() -> None:
    assert standing_record.find_record() is None
    standing_record.remember(RECORD)
    assert standing_record.find_record() == RECORD
    standing_record.forget()
    assert standing_record.find_record() is None


@pytest.mark.parametrize("text", ["", '{"engine": "com', "[]", "null", "{}", '{"hosts": 3}'])
def test_a_record_written_in_half_is_none(text: str) -> None:
    (standing_record.standing_folder() / "stack.json").write_text(text)
    assert standing_record.find_record() is None


def test_users_of_one_host_have_standing_stacks_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine = standing_record.standing_run()
    monkeypatch.setenv("XDG_STATE_HOME", "/somebody/else")
    assert standing_record.standing_run() != mine
    assert standing_record.standing_run().startswith("standing-")


WANTED = {
    "engine": "auto",
    "nodes": 2,
    "hardware": "macbook",
    "source": None,
    "credentials": False,
}


@pytest.mark.parametrize(
    ("record", "wanted", "reason"),
    [
        (RECORD, {}, ""),
        (RECORD, {"engine": "compose"}, ""),
        (RECORD, {"engine": "process"}, "it is on compose"),
        (RECORD, {"nodes": 4}, "it has 2 nodes, not 4"),
        (RECORD, {"hardware": "gpu"}, "it is for +hardware=macbook"),
        (RECORD, {"source": Path("/mine")}, "it has no --source"),
        (replace(RECORD, source="/mine"), {"source": Path("/mine")}, ""),
        (replace(RECORD, source="/mine"), {}, ""),
        (replace(RECORD, source="/yours"), {"source": Path("/mine")}, "its source is /yours"),
        (RECORD, {"credentials": True}, "it has no --credentials"),
        (replace(RECORD, credentials=True), {"credentials": True}, ""),
        (replace(RECORD, credentials=True), {}, ""),
    ],
)
def test_what_does_not_fit_is_named(
    record: StandingRecord, wanted: dict[str, object], reason: str
) -> None:
    assert record.misfit(**{**WANTED, **wanted}) == reason  # type: ignore[arg-type]


def test_one_sweep_at_a_time() -> None:
    first = StandingUse("run-1", "mine", ("sweep", "run=mine"))
    held = standing_record.take(first)
    assert standing_record.last_use() == first
    with pytest.raises(StackError, match="in use by the sweep mine of the run run-1"):
        standing_record.take(StandingUse("run-2", "other", ()))
    assert standing_record.last_use() == first
    held.close()
    standing_record.take(StandingUse("run-2", "other", ())).close()
    assert standing_record.last_use() == StandingUse("run-2", "other", ())


def test_whoever_dies_with_the_stack_leaves_it_free() -> None:
    code = (
        "import os; from metta_sandbox.stack import standing_record as s; "
        "held = s.take(s.StandingUse('dead', 'dead', ())); os.kill(os.getpid(), 9)"
    )
    died = subprocess.run([sys.executable, "-c", code], check=False)
    assert died.returncode == -9
    assert standing_record.last_use() == StandingUse("dead", "dead", ())
    standing_record.take(StandingUse("next", "next", ())).close()
