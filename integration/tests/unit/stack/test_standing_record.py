"""What is remembered of a standing stack, whom it fits, and who has it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from metta_sandbox.errors import StackError
from metta_sandbox.stack import standing
from metta_sandbox.stack.standing import Record, Use

RECORD = Record(
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
    standing.standing_folder().mkdir(parents=True)


def test_a_record_is_read_back_as_it_was_written() -> None:
    assert standing.find_record() is None
    standing.remember(RECORD)
    assert standing.find_record() == RECORD
    standing.forget()
    assert standing.find_record() is None


@pytest.mark.parametrize("text", ["", '{"engine": "com', "[]", "null", "{}", '{"hosts": 3}'])
def test_a_record_written_in_half_is_none(text: str) -> None:
    (standing.standing_folder() / "stack.json").write_text(text)
    assert standing.find_record() is None


def test_users_of_one_host_have_standing_stacks_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine = standing.standing_run()
    monkeypatch.setenv("XDG_STATE_HOME", "/somebody/else")
    assert standing.standing_run() != mine
    assert standing.standing_run().startswith("standing-")


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
def test_what_does_not_fit_is_named(record: Record, wanted: dict[str, object], reason: str) -> None:
    assert record.misfit(**{**WANTED, **wanted}) == reason  # type: ignore[arg-type]


def test_one_sweep_at_a_time() -> None:
    first = Use("run-1", "mine", ("sweep", "run=mine"))
    held = standing._take(first)
    assert standing.last_use() == first
    with pytest.raises(StackError, match="in use by the sweep mine of the run run-1"):
        standing._take(Use("run-2", "other", ()))
    assert standing.last_use() == first
    held.close()
    standing._take(Use("run-2", "other", ())).close()
    assert standing.last_use() == Use("run-2", "other", ())


def test_whoever_dies_with_the_stack_leaves_it_free() -> None:
    code = (
        "import os; from metta_sandbox.stack import standing as s; "
        "held = s._take(s.Use('dead', 'dead', ())); os.kill(os.getpid(), 9)"
    )
    died = subprocess.run([sys.executable, "-c", code], check=False)
    assert died.returncode == -9
    assert standing.last_use() == Use("dead", "dead", ())
    standing._take(Use("next", "next", ())).close()
