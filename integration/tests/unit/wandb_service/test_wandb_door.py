"""Who comes in, what is not there, and what a test has the server answer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from sqlite3 import ProgrammingError
from typing import TYPE_CHECKING

import pytest

from metta_sandbox.api.server import listen
from metta_sandbox.errors import InputError, MachineError
from metta_sandbox.services.wandb.database import Database
from metta_sandbox.services.wandb.script import LARGEST, Scripted
from metta_sandbox.services.wandb.server import run

if TYPE_CHECKING:
    from tests.unit.wandb_service.conftest import StandIn

VIEWER = "query Viewer { viewer { entity } }"


def test_what_is_not_there_is_refused_and_noted(server: StandIn) -> None:
    query = 'query Automations { project(name: "p") { triggers { id } } }'
    for _ in range(2):
        answer = server.answer(query)
        assert answer.status_code == 400
        assert "Cannot query field 'triggers'" in answer.json()["errors"][0]["message"]
    with closing(server.records()) as records:
        (noted,) = records.unknown()
    assert noted.startswith("Automations: Cannot query field 'triggers' on type 'Project'")
    assert "2 times" in noted


def test_what_is_not_there_is_noted_in_few_words(server: StandIn) -> None:
    server.answer(f"query Q {{ {'a' * 3000} }}")
    with closing(server.records()) as records:
        (noted,) = records.unknown()
    assert len(noted) < 500


def test_arguments_that_are_not_there_are_noted_unless_they_are_null(server: StandIn) -> None:
    query = """mutation U($input: UpsertBucketInput!) {
      upsertBucket(input: $input) { inserted } }"""
    server.data_of(query, input={"name": "r1", "modelName": "p", "newest": None})
    assert server.answer(query, input={"name": "r1", "newest": 1}).status_code == 400
    with closing(server.records()) as records:
        assert "newest" in records.unknown()[0]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"query": 1}',
        b'{"query": "{"}',
        b'{"query": "{ viewer { id } }',
        b'{"query": "{ \\ud800 }"}',
        b'{"query": "{ viewer { id } }", "variables": {"a": NaN}}',
    ],
)
def test_what_is_no_question_is_refused(server: StandIn, body: bytes) -> None:
    assert server.ask("POST", "/graphql", content=body).status_code == 400


def test_a_request_is_bounded(server: StandIn) -> None:
    assert server.ask("POST", "/graphql", content=b" " * (LARGEST + 1)).status_code == 413


def test_a_question_that_multiplies_itself_is_given_up(made: Callable[..., StandIn]) -> None:
    server = made(patience=0.3)
    for number in range(12):
        server.upsert(f"r{number}")
    runs = "runs { edges { node { project {" * 8 + "id" + "} } } }" * 8
    began = time.monotonic()
    answer = server.answer(f'query Q {{ project(name: "p") {{ {runs} }} }}')
    assert time.monotonic() - began < 10
    assert "too long" in answer.json()["errors"][0]["message"]
    assert server.data_of(VIEWER)


def test_the_store_is_closed_once_nobody_is_at_it(tmp_path: Path) -> None:
    store = Database(tmp_path / "state")
    slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000)"
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(store.value, f"{slow} SELECT COUNT(*) FROM n")
        time.sleep(0.05)
        store.close()
    assert answer.result() == 2_000_000
    with pytest.raises(ProgrammingError):
        store.value("SELECT 1")


@pytest.mark.parametrize("key", ["a" * 40, "local-" + "a" * 40, "wandb_v1_" + "b" * 77])
def test_any_key_of_the_form_is_taken(server: StandIn, key: str) -> None:
    answer = server.ask("POST", "/graphql", json={"query": VIEWER}, auth=("api", key))
    assert answer.json()["data"] == {"viewer": {"entity": "sandbox"}}
    bearer = {"Authorization": f"Bearer {key}"}
    answer = server.ask("POST", "/graphql", json={"query": VIEWER}, auth=None, headers=bearer)
    assert answer.status_code == 200


@pytest.mark.parametrize("auth", [None, ("api", "short"), ("api", "x" * 39 + "!")])
def test_what_is_no_key_is_refused(server: StandIn, auth: tuple[str, str] | None) -> None:
    for path in ("/graphql", "/files/e/p/r/file_stream"):
        answer = server.ask("POST", path, json={"query": VIEWER}, auth=auth)
        assert answer.status_code == 401
        assert answer.json()["errors"]


def test_with_a_key_that_one_alone_is_let_in(made: Callable[..., StandIn]) -> None:
    server = made(key="s" * 40)
    assert server.answer(VIEWER).status_code == 401
    assert server.ask("GET", "/").status_code == 401
    known = ("api", "s" * 40)
    asked = server.ask("POST", "/graphql", json={"query": VIEWER}, auth=known)
    assert asked.status_code == 200
    assert server.ask("GET", "/", auth=known).status_code == 200


@pytest.mark.parametrize(("address", "key"), [("0.0.0.0", None), ("::", None), ("127.0.0.1", "k")])
def test_others_are_not_let_in_without_a_key(tmp_path: Path, address: str, key: str | None) -> None:
    with pytest.raises(InputError):
        run(address, 0, tmp_path, key, lambda _: None)


def test_the_page_shows_what_runs_say_and_does_nothing_of_it(server: StandIn) -> None:
    server.upsert(displayName="<script>alert(1)</script>\u202e", config="{}")
    server.stream(summary=(0, [{"<img src=x>": 1}]))
    answer = server.ask("GET", "/", auth=None)
    assert "<script" not in answer.text
    assert "<img" not in answer.text
    assert "&lt;script&gt;" in answer.text
    assert "\u202e" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_a_script_answers_certain_calls(made: Callable[..., StandIn]) -> None:
    server = made(
        script=[
            Scripted("Viewer", first=2, last=2, status=429, retry_after=1.5),
            Scripted("Viewer", first=3, last=3, broken_json=True),
            Scripted("file_stream", status=503),
            Scripted("CreateAgent", delay=0.2),
        ]
    )
    answers = [server.answer(VIEWER) for _ in range(4)]
    assert [each.status_code for each in answers] == [200, 429, 200, 200]
    assert answers[1].headers["retry-after"] == "1.5"
    with pytest.raises(json.JSONDecodeError):
        answers[2].json()
    server.upsert()
    assert server.stream(history=(0, [{}])).status_code == 503
    assert server.run("historyLineCount") == {"historyLineCount": 0}
    began = time.monotonic()
    server.answer(
        'mutation CreateAgent { createAgent(input: {host: "h", sweep: "s"}) { agent { id } } }'
    )
    assert time.monotonic() - began >= 0.2


def test_the_store_outlives_the_server(made: Callable[..., StandIn]) -> None:
    first = made()
    first.upsert()
    second = type(first)(first.data)
    assert second.upsert()["inserted"] is False
    second.close()


def test_what_telemetry_sends_is_taken(server: StandIn) -> None:
    assert server.ask("POST", "/sdk/otel/v1/traces", content=b"x", auth=None).json() == {}


def test_a_port_in_use_is_told_without_an_option_of_another_command() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(MachineError, match="Address already in use") as raised:
            listen("127.0.0.1", port)
    assert "--" not in str(raised.value.hint)


def test_an_address_of_no_machine_is_told_in_words() -> None:
    with pytest.raises(MachineError, match="no machine has that name"):
        listen("nowhere.invalid", 0)
