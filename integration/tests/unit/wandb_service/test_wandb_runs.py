"""Runs: made, streamed, resumed, stopped, and who wrote what."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from metta_sandbox.services.wandb.database import STATE

if TYPE_CHECKING:
    from tests.unit.wandb_service.conftest import StandIn


def test_a_run_is_made_once(server: StandIn) -> None:
    first = server.upsert(config='{"lr": {"value": 0.1}}', tags=["a", "a", "b"], groupName="g")
    again = server.upsert(displayName="mine")
    assert (first["inserted"], again["inserted"]) == (True, False)
    assert first["bucket"]["id"] == again["bucket"]["id"]
    run = server.record()
    assert (run.entity, run.project, run.display_name) == ("sandbox", "p", "mine")
    assert (run.config, run.tags, run.group, run.state) == ({"lr": 0.1}, ("a", "b"), "g", "running")


@pytest.mark.parametrize(("exit_code", "state"), [(0, "finished"), (1, "failed")])
def test_what_a_run_streams_is_kept(server: StandIn, exit_code: int, state: str) -> None:
    server.upsert()
    server.stream(history=(0, [{"_step": 0, "loss": 2}]), output=(0, ["2026-01-01T00:00:00 hi"]))
    server.stream(history=(1, [{"_step": 1, "loss": 1}]), summary=(0, [{"loss": 1}]))
    answer = server.stream(complete=True, exitcode=exit_code)
    assert answer.json()["stopped"] is False
    with closing(server.records()) as records:
        run = records.runs()[0]
        assert [row["loss"] for row in records.history(run)] == [2, 1]
        assert records.output(run) == ["2026-01-01T00:00:00 hi"]
    assert (run.state, run.exit_code, run.summary) == (state, exit_code, {"loss": 1})


def test_a_request_that_is_sent_again_changes_nothing(server: StandIn) -> None:
    server.upsert()
    for _ in range(2):
        server.stream(history=(0, [{"_step": 0}, {"_step": 1}]))
    assert server.run("historyLineCount")["historyLineCount"] == 2
    with closing(server.records()) as records:
        assert records.contested(records.runs()[0]) == []


def test_two_writers_of_one_line_both_stay(server: StandIn) -> None:
    server.upsert()
    server.stream(history=(0, [{"_step": 0, "who": "first"}]))
    server.stream(history=(0, [{"_step": 0, "who": "second"}]), address="10.0.0.2")
    with closing(server.records()) as records:
        run = records.runs()[0]
        (contested,) = records.contested(run)
        addresses = [write.address for write in records.writes(run)]
        assert records.history(run) == [{"_step": 0, "who": "second"}]
    assert [json.loads(body)["who"] for body in contested.bodies] == ["first", "second"]
    assert addresses == ["10.0.0.1", "10.0.0.1", "10.0.0.2"]


def test_a_writer_is_known_by_what_it_says_of_itself(server: StandIn) -> None:
    server.upsert()
    said = {"X-Metta-Node": "sweep-worker", "User-Agent": "wandb-core"}
    said["X-WANDB-ASYNC-CLIENT-ID"] = "one"
    server.ask("POST", "/files/sandbox/p/r1/file_stream", json={}, headers=said)
    with closing(server.records()) as records:
        last = records.writes()[-1]
    assert (last.node, last.agent, last.client, last.run) == (
        *("sweep-worker", "wandb-core", "one"),
        "r1",
    )


def test_a_run_without_a_sign_of_life_has_crashed(made: Callable[..., StandIn]) -> None:
    server = made(silence=100)
    server.upsert()
    assert server.run("state") == {"state": "running"}
    with closing(sqlite3.connect(server.data / STATE)) as store, store:
        store.execute("UPDATE runs SET heartbeat_at = heartbeat_at - 101")
    assert server.run("state") == {"state": "crashed"}
    server.upsert()
    assert server.run("state") == {"state": "running"}


def test_what_resuming_asks_for(server: StandIn) -> None:
    query = """query RunResumeStatus($name: String!) { model(name: "p") { bucket(
      name: $name, missingOk: true) { id historyLineCount historyTail eventsTail logLineCount
      summaryMetrics config wandbConfig(keys: ["t"]) tags notes } } }"""
    assert server.data_of(query, name="r1")["model"] is None
    server.upsert(config='{"_wandb": {"value": {"t": {"1": [1]}, "m": []}}}')
    assert server.data_of(query, name="other")["model"]["bucket"] is None
    server.stream(history=(0, [{"_step": 0}, {"_step": 5}]))
    found = server.data_of(query, name="r1")["model"]["bucket"]
    assert (found["historyLineCount"], found["wandbConfig"]) == (2, '{"t": {"1": [1]}}')
    assert json.loads(json.loads(found["historyTail"])[0]) == {"_step": 5}
    assert (found["eventsTail"], found["logLineCount"]) == ("[]", 0)


def test_a_stopped_run_hears_of_it(server: StandIn) -> None:
    run = server.upsert()["bucket"]
    server.data_of("mutation S($id: ID!) { stopRun(input: {id: $id}) { success } }", id=run["id"])
    assert server.run("stopped") == {"stopped": True}
    assert server.stream().json()["stopped"] is True
    assert server.upsert()["inserted"] is False
    assert server.run("stopped") == {"stopped": False}


def test_a_deleted_run_is_gone_from_answers_and_stays_in_the_store(server: StandIn) -> None:
    run = server.upsert()["bucket"]
    delete = "mutation D($id: ID!) { deleteRun(input: {id: $id}) { clientMutationId } }"
    server.data_of(delete, id=run["id"])
    assert server.data_of('{ project(name: "p") { run(name: "r1") { id } } }')["project"] == {
        "run": None
    }
    assert server.stream().status_code == 404
    server.data_of(delete, id=run["id"])
    assert server.answer(delete, id="UnVuOjk=").status_code == 404
    assert server.record().deleted
    assert server.upsert()["inserted"] is True


def test_the_state_of_a_run_is_changed_where_that_makes_sense(server: StandIn) -> None:
    run = server.upsert()["bucket"]
    change = """mutation U($id: ID!, $s: String!) {
      updateRunState(input: {id: $id, state: $s}) { success } }"""
    server.data_of(change, id=run["id"], s="failed")
    assert server.record().state == "failed"
    refused = server.answer(change, id=run["id"], s="failed").json()["errors"]
    assert refused[0]["message"] == "invalid state transition: from failed to failed"
    server.data_of(change, id=run["id"], s="pending")
    assert server.record().state == "pending"


def test_history_is_asked_for_by_steps_and_by_keys(server: StandIn) -> None:
    server.upsert()
    rows = [{"_step": step, "loss": step, "a": {"b": step}} for step in range(10)]
    rows.append({"_step": 10, "loss": float("nan")})
    server.stream(history=(0, rows))
    page = server.run("history(minStep: 2, maxStep: 4, samples: 100)")["history"]
    assert [json.loads(row)["_step"] for row in page] == [2, 3]
    spec = json.dumps({"keys": ["_step", "a.b"], "samples": 5})
    sampled = server.run(f"sampledHistory(specs: [{json.dumps(spec)}])")["sampledHistory"]
    assert sampled == [[{"_step": step, "a.b": step} for step in range(0, 10, 2)]]
    whole = server.run('sampledHistory(specs: ["{}"]) historyKeys')
    assert whole["sampledHistory"][0][-1] == {"_step": 10, "loss": "NaN"}
    assert whole["historyKeys"]["lastStep"] == 10


def test_a_rewound_run_forgets_what_came_after(server: StandIn) -> None:
    server.upsert()
    server.stream(history=(0, [{"_step": step} for step in range(5)]))
    rewind = """mutation R { rewindRun(input: {runName: "r1", projectName: "p",
      metricName: "_step", metricValue: 2}) { rewoundRun { historyLineCount } } }"""
    assert server.data_of(rewind)["rewindRun"]["rewoundRun"] == {"historyLineCount": 3}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"files": [1]}',
        b'{"files": {"output.log": {"offset": "x"}}}',
        b"[" * 100_000,
        b'{"files": {"output.log": {"offset": 1e999, "content": []}}}',
        b'{"files": {"output.log": {"offset": 99999999999999999999, "content": ["x"]}}}',
        b'{"files": {"output.log": {"offset": 0, "content": ["\\ud800"]}}}',
        b'{"complete": true, "exitcode": 99999999999999999999}',
    ],
)
def test_what_is_no_stream_is_refused_once(server: StandIn, body: bytes) -> None:
    server.upsert()
    answer = server.ask("POST", "/files/sandbox/p/r1/file_stream", content=body)
    assert answer.status_code == 400
    assert server.record().state == "running"


@pytest.mark.parametrize("name", ["a/b", "", "x" * 129, "a\nb", "a?b"])
def test_names_that_addresses_give_a_meaning_are_refused(server: StandIn, name: str) -> None:
    answer = server.answer(
        'mutation U($n: String) { upsertBucket(input: {name: "r", modelName: $n, entityName: "e"'
        "}) { inserted } }",
        n=name,
    )
    refused = "errors" in answer.json()
    assert refused is bool(name)  # without one it is the project `uncategorized`


def test_several_processes_read_the_store_while_it_is_written(server: StandIn) -> None:
    server.upsert()
    with closing(sqlite3.connect(server.data / STATE)) as other:
        other.execute("BEGIN")
        assert other.execute("SELECT COUNT(*) FROM runs").fetchone() == (1,)
        assert server.upsert("r2")["inserted"]
