"""What clients of Observatory call, the newest ones and those of 2025, in their order."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from metta_sandbox.api.app import create_app
from metta_sandbox.observatory_tokens import Tokens

TOKEN = "tok-of-mine"
Ask = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def ask(folder: Path) -> Iterator[Ask]:
    """Call the control plane as somebody with a token; gives the answer's JSON."""
    app = create_app(folder, tokens=Tokens({"https://obs.example": TOKEN}))

    def ask(method: str, path: str, *, status: int = 200, token: str = TOKEN, **said: Any) -> Any:
        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(app)
            headers = {"X-Auth-Token": token} if token else {}
            async with httpx.AsyncClient(
                transport=transport, base_url="http://dummy-api:8080", headers=headers
            ) as client:
                return await client.request(method, path, **said)

        answer = asyncio.run(call())
        assert answer.status_code == status, answer.text
        return answer.json()

    yield ask

    async def live() -> None:
        async with app.router.lifespan_context(app):
            pass

    asyncio.run(live())


def policy(ask: Ask, name: str) -> str:
    said = {"name": name, "attributes": {}, "is_system_policy": False}
    return str(ask("POST", "/stats/policies", json=said)["id"])


def test_policies_have_versions_with_tags(ask: Ask) -> None:
    mine = policy(ask, "mine")
    assert policy(ask, "mine") == mine, "known by its name"
    policy(ask, "other")
    versions = f"/stats/policies/{mine}/versions"
    first, second = (ask("POST", versions, json={"policy_spec": {"n": n}})["id"] for n in (1, 2))

    ask("PUT", f"/stats/policies/versions/{first}/tags", json={"a": "1"})
    ask("PUT", f"/stats/policies/versions/{first}/tags", json={"b": "2"})

    whole = ask("GET", f"/stats/policies/versions/{first}")
    assert (whole["name"], whole["version"], whole["policy_spec"]) == ("mine", 1, {"n": 1})
    public = ask("GET", f"/stats/policies/{first}")
    assert (public["tags"], public["version_count"]) == ({"a": "1", "b": "2"}, 2)
    assert public["user_id"] == "sandbox@obs.example"
    for path in (versions, "/stats/policies/my-versions", "/stats/policy-versions?name_fuzzy=MIN"):
        assert [one["id"] for one in ask("GET", path)["entries"]] == [second, first], path
    some = ask("GET", "/stats/policy-versions", params={"name_exact": "mine", "version": 2})
    assert (some["total_count"], some["entries"][0]["id"]) == (1, second)
    assert ask("GET", "/stats/policy-versions?name_exact=other")["entries"] == []
    for method, path in (
        ("GET", "/stats/policies/versions/none"),
        ("PUT", "/stats/policies/versions/none/tags"),
        ("POST", "/stats/policies/none/versions"),
    ):
        ask(method, path, status=404, json={})


def test_policies_of_2025_are_new_each_time_and_found_by_name(ask: Ask) -> None:
    ids = [ask("POST", "/stats/policies", json={"name": "p"})["id"] for _ in range(2)]

    assert len(set(ids)) == 2
    names = {"policy_names": ["p", "q"]}
    assert ask("GET", "/stats/policies/ids", params=names) == {"policy_ids": {"p": ids[1]}}


def test_episodes_are_found_by_policy_and_tags(ask: Ask) -> None:
    reward = {"0": {"reward": 1.0}, "1": {"reward": 2.0}}
    for name, tags in (("p", {"map": "arena"}), ("q", ["old"])):
        said = {"primary_policy_id": name, "agent_metrics": reward, "tags": tags}
        ask("POST", "/stats/episodes", json=said)

    def found(**asked: Any) -> list[str]:
        every = ask("POST", "/stats/episodes/query", json=asked)["episodes"]
        return [one["primary_pv_id"] for one in every]

    assert found() == ["p", "q"]
    assert found(limit=1, offset=1) == ["q"]
    assert found(primary_policy_version_ids=["q"]) == ["q"]
    assert found(tag_filters={"map": ["arena"]}) == ["p"]
    assert found(tag_filters={"old": None}) == ["q"]
    (one,) = ask("POST", "/stats/episodes/query", json={"limit": 1})["episodes"]
    assert one["avg_rewards"] == {"p": 1.5}


def test_episodes_are_uploaded_at_an_address_that_asks_for_no_token(ask: Ask, folder: Path) -> None:
    given = ask("POST", "/stats/episodes/bulk_upload/presigned-url")
    done = {"upload_id": given["upload_id"]}
    ask("POST", "/stats/episodes/bulk_upload/complete", json=done, status=400)
    content = b"checksumDUCK" + bytes(64)
    path = httpx.URL(given["upload_url"]).path
    assert ask("PUT", path, content=content, token="") == {"size": 76}
    ask("PUT", "/uploads/none", content=b"", token="", status=404)

    assert (folder / "uploads" / f"{given['upload_id']}.duckdb").read_bytes() == content
    assert given["s3_key"].endswith(".duckdb")


@pytest.mark.parametrize(
    ("prefix", "command"),
    [
        (sys.prefix, f"{sys.executable} -m pip install duckdb"),
        ("/opt/metta/venv", "pip install duckdb (on this machine), then --engine process"),
    ],
)
def test_an_upload_without_duckdb_says_what_mends_it(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, prefix: str, command: str
) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    monkeypatch.setattr(sys, "prefix", prefix)
    given = ask("POST", "/stats/episodes/bulk_upload/presigned-url")
    ask("PUT", httpx.URL(given["upload_url"]).path, content=b"checksumDUCK" + bytes(64))

    done = {"upload_id": given["upload_id"]}
    complete = ask("POST", "/stats/episodes/bulk_upload/complete", json=done)

    assert complete["episodes_created"] == 0
    assert complete["lacks"].endswith(command)


def test_a_duckdb_file_is_read(ask: Ask, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect(str(tmp_path / "e.duckdb")) as base:
        for table in (
            (
                "episodes (id VARCHAR, primary_pv_id VARCHAR, replay_url VARCHAR, "
                "thumbnail_url VARCHAR, attributes JSON, eval_task_id VARCHAR)"
            ),
            "episode_tags (episode_id VARCHAR, key VARCHAR, value VARCHAR)",
            "episode_agent_policies (episode_id VARCHAR, policy_version_id VARCHAR, agent_id INT)",
            "episode_agent_metrics (episode_id VARCHAR, agent_id INT, metric VARCHAR, value REAL)",
        ):
            base.execute(f"CREATE TABLE {table}")
        base.execute("INSERT INTO episodes VALUES ('e', 'v', NULL, NULL, '{\"a\": 1}', NULL)")
        base.execute("INSERT INTO episode_tags VALUES ('e', 'map', 'arena')")
        base.execute("INSERT INTO episode_agent_policies VALUES ('e', 'v', 0)")
        base.execute("INSERT INTO episode_agent_metrics VALUES ('e', 0, 'reward', 2.5)")
    given = ask("POST", "/stats/episodes/bulk_upload/presigned-url")
    content = (tmp_path / "e.duckdb").read_bytes()
    ask("PUT", httpx.URL(given["upload_url"]).path, content=content)

    done = {"upload_id": given["upload_id"]}
    complete = ask("POST", "/stats/episodes/bulk_upload/complete", json=done)

    assert complete["episodes_created"] == 1
    (one,) = ask("POST", "/stats/episodes/query", json={"episode_ids": ["e"]})["episodes"]
    assert (one["avg_rewards"], one["tags"]) == ({"v": 2.5}, {"map": "arena"})
    assert one["attributes"] == {"a": 1}


def test_sql_asks_what_is_kept_and_changes_nothing(ask: Ask) -> None:
    policy(ask, "mine")

    def query(text: str, status: int = 200) -> Any:
        return ask("POST", "/sql/query", json={"query": text}, status=status)

    assert query("SELECT name, count(*) AS n FROM policies GROUP BY name") == {
        "columns": ["name", "n"],
        "rows": [["mine", 1]],
        "row_count": 1,
    }
    for text in ("DROP TABLE policies", "ATTACH DATABASE '/tmp/x' AS x", "PRAGMA user_version"):
        query(text, 403)
    query("SELECT * FROM nowhere", 400)
    tables = {one["table_name"]: one["row_count"] for one in ask("GET", "/sql/tables")}
    assert (tables["policies"], tables["episodes"]) == (1, 0)
    columns = ask("GET", "/sql/tables/policies/schema")["columns"]
    assert {"id", "name", "user_id"} <= {one["name"] for one in columns}
    ask("GET", "/sql/tables/nowhere/schema", status=404)


def test_jobs_run_before_they_are_completed(ask: Ask) -> None:
    jobs = [{"job_type": "episode", "job": {"n": n}} for n in (1, 2)]
    first, second = ask("POST", "/jobs/batch", json=jobs)

    ask("POST", f"/jobs/{first}", json={"status": "completed"}, status=409)
    ask("POST", f"/jobs/{first}", json={"status": "running", "worker": "w"})
    done = ask("POST", f"/jobs/{first}", json={"status": "completed", "result": {"ok": 1}})

    assert (done["worker"], done["result"], done["status"]) == ("w", {"ok": 1}, "completed")
    assert ask("GET", f"/jobs/{first}") == done
    assert [one["id"] for one in ask("GET", "/jobs")] == [second, first]
    waiting = ask("GET", "/jobs", params={"statuses": ["dispatched"], "job_type": "episode"})
    assert [one["id"] for one in waiting] == [second]
    ask("GET", "/jobs/none", status=404)


def test_tasks_are_claimed_once_and_finished(ask: Ask) -> None:
    one, two = (ask("POST", "/tasks", json={"command": "c", "git_hash": git})["id"] for git in "ab")
    assert (one, two) == (1, 2)

    claim = {"tasks": [one, 99], "assignee": "w"}
    assert ask("POST", "/tasks/claim", json=claim) == {"claimed": [1]}
    assert ask("POST", "/tasks/claim", json={**claim, "assignee": "v"}) == {"claimed": []}
    assert [each["id"] for each in ask("GET", "/tasks/available")["tasks"]] == [2]
    assert ask("GET", "/tasks/latest?assignee=w")["id"] == 1
    ask("GET", "/tasks/latest?assignee=v", status=404)
    hashes = {"git_hashes": {"w": ["a"]}}
    assert ask("POST", "/tasks/git-hashes", json={"assignees": ["w"]}) == hashes
    assert ask("GET", "/tasks/git-hashes?assignees=w") == hashes
    assert ask("POST", "/tasks/1/start") == {"task_id": 1}
    assert ask("GET", "/tasks/all?statuses=running")["tasks"][0]["id"] == 1

    # The worker was lost: somebody else may take it.
    ask("POST", "/tasks/1/finish", json={"task_id": 1, "status": "system_error"})
    assert ask("POST", "/tasks/claim", json={**claim, "assignee": "v"}) == {"claimed": [1]}
    ask("POST", "/tasks/1/finish", json={"task_id": 1, "status": "done", "log_path": "l"})

    task = ask("GET", "/tasks/1")
    assert (task["is_finished"], task["status"], task["output_log_path"]) == (True, "done", "l")
    ends = [(each["assignee"], each["status"]) for each in attempts(ask)]
    assert ends == [("w", "system_error"), ("v", "done")]
    assert ask("GET", "/tasks/claimed")["tasks"] == []
    ask("POST", "/tasks/9/start", status=404)


def attempts(ask: Ask) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ask("GET", "/tasks/1/attempts")["attempts"]
    return found


def test_tasks_of_2025_are_of_policies_and_updated_when_claimed(ask: Ask) -> None:
    task = ask("POST", "/tasks", json={"policy_id": "p", "sim_suite": "arena", "git_hash": "h"})
    assert (task["sim_suite"], task["attributes"], task["retries"]) == (
        "arena",
        {"git_hash": "h"},
        0,
    )
    ask("POST", "/tasks/claim", json={"tasks": [task["id"]], "assignee": "w"})

    def update(worker: str, **said: Any) -> Any:
        updates = {"updates": {task["id"]: said}, "require_assignee": worker}
        return ask("POST", "/tasks/claimed/update", json=updates)["statuses"]

    assert update("v", status="done") == {}
    assert update("w", status="unprocessed", clear_assignee=True) == {task["id"]: "unprocessed"}
    assert [each["id"] for each in ask("GET", "/tasks/available")["tasks"]] == [task["id"]]
    assert ask("GET", f"/tasks/{task['id']}")["retries"] == 1


def test_a_wrong_token_is_refused_on_every_new_route(ask: Ask, folder: Path) -> None:
    for path in ("/jobs", "/tasks/all", "/stats/policy-versions", "/sql/tables"):
        assert ask("GET", path, token="wrong", status=401)["detail"].endswith("not known")
        ask("GET", path, token="", status=401)
    record = (folder / "requests.jsonl").read_text()
    assert "wrong" not in record
    assert json.loads(record.splitlines()[0])["authenticated"] is False
