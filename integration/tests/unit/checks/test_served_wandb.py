"""What is said of a store of W&B's stand-in: who told which step, and what it lacked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metta_sandbox.checks import served_wandb
from metta_sandbox.checks.evaluation import standing
from metta_sandbox.checks.evidence import Evidence
from metta_sandbox.checks.served_wandb import STORE
from metta_sandbox.scenario.expect.judgement import EvidenceError, Judgement
from metta_sandbox.scenario.loading import parse
from metta_sandbox.services.wandb.database import STATE, Database, now
from metta_sandbox.services.wandb.writing import Writer, note_unknown, writer_id
from metta_sandbox.timeline.recording import Event
from metta_sandbox.verdict import Verdict
from metta_sandbox.wandb_file import OfflineRun

SERVED = "version: 1\nname: s\nservices: {wandb: {}}\nworkload: {run: 'true'}\n"


@pytest.fixture
def store(tmp_path: Path) -> Database:
    (tmp_path / STORE).mkdir(parents=True)
    db = Database(tmp_path / STORE / STATE)
    project = db.insert("projects", entity="e", name="p", created_at=now())
    db.insert("runs", project=project, name="r", created_at=now(), updated_at=now())
    return db


def told(db: Database, node: str, *steps: int) -> None:
    writer = writer_id(db, Writer(node, "127.0.0.1", "wandb-core", ""))
    first = db.value("SELECT COUNT(*) FROM lines")
    for line, step in enumerate(steps, first):
        body = json.dumps({"_step": step, "loss": 0.5})
        db.insert("lines", run=1, stream="history", line=line, writer=writer, at=now(), body=body)


def judged(folder: Path) -> Judgement:
    return served_wandb.check(Evidence(folder, parse(SERVED, Path("s.yaml")), ()))


def test_nodes_that_tell_steps_of_their_own_are_well(store: Database, tmp_path: Path) -> None:
    told(store, "sweep-master", 0, 1, 2)
    told(store, "sweep-worker", 3)
    told(store, "sweep-master", 2)
    found = judged(tmp_path)
    assert (found.verdict, found.doubt) == (Verdict.PASSED, "")


def test_a_step_that_two_nodes_tell_is_a_finding(store: Database, tmp_path: Path) -> None:
    told(store, "sweep-master", 0, 1, 2)
    told(store, "sweep-worker", 1, 2, 3)
    found = judged(tmp_path)
    assert found.verdict is Verdict.FAILED
    assert "run r of p: sweep-master and sweep-worker all told 2 steps, the first one 1" in (
        found.detail
    )


def test_what_the_stand_in_lacked_is_a_warning(store: Database, tmp_path: Path) -> None:
    for number in range(5):
        note_unknown(store, f"Query{number}", "no field", "wandb/0.31")
    store.close()
    found = judged(tmp_path)
    assert found.verdict is Verdict.PASSED
    assert "Query0: no field" in found.doubt
    assert found.doubt.endswith("and 2 more")


def test_what_is_no_store_is_told(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match=STATE):
        judged(tmp_path)
    (tmp_path / STORE).mkdir(parents=True)
    (tmp_path / STORE / STATE).write_text("no database at all" * 100)
    with pytest.raises(EvidenceError):
        judged(tmp_path)
    (tmp_path / STORE / STATE).unlink()
    (tmp_path / STORE / STATE).symlink_to("/etc/hostname")
    with pytest.raises(EvidenceError):
        judged(tmp_path)


def test_it_stands_where_wandb_is_served() -> None:
    assert "W&B's server" in standing(parse(SERVED, Path("s.yaml")))
    offline = SERVED.replace("{wandb: {}}", "{wandb: {serve: false}}")
    assert "W&B's server" not in standing(parse(offline, Path("s.yaml")))


@pytest.mark.usefixtures("store")
def test_an_answer_that_no_call_took_is_told(tmp_path: Path) -> None:
    said = "{wandb: {answers: [{operation: A, status: 503}, {operation: B, delay: 1s}]}}"
    scenario = parse(SERVED.replace("{wandb: {}}", said), Path("s.yaml"))
    fields = {"event": "api.request", "service": "wandb", "rule": 1}

    found = served_wandb.check(Evidence(tmp_path, scenario, (Event(1.0, fields),)))

    assert found.verdict is Verdict.INCONCLUSIVE
    assert "2, to B" in found.detail
    assert "1, to A" not in found.detail


@pytest.mark.parametrize(
    ("folder", "exit_code", "fails"),
    [("run-1-r", 0, True), ("offline-run-1-r", 0, False), ("run-1-r", 1, False)],
)
def test_a_run_that_the_server_lacks_rows_of_is_a_finding(
    store: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    folder: str,
    exit_code: int,
    fails: bool,
) -> None:
    told(store, "sweep-master", 0)
    path = tmp_path / "shared" / "wandb" / folder / "run-r.wandb"
    run = OfflineRun(path, id="r", history=({"loss": 1}, {"loss": 2}), exit_code=exit_code)
    monkeypatch.setattr(Evidence, "runs_anywhere", lambda _: iter([run]))

    found = judged(tmp_path)

    assert (found.verdict is Verdict.FAILED) is fails
    assert ("run r told 2 rows of history, and its server has 1" in found.detail) is fails
