"""What the control plane does with calls while a fault lasts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from metta_sandbox.api.announcer import Announcer
from metta_sandbox.api.app import create_app
from metta_sandbox.api.fault_rules import ApiFaultRule, write_rules
from metta_sandbox.node.agent.emitter import Emitter

NEXT = "POST /sweeps/{name}/runs/next"


class Client:
    """Calls a control plane directly."""

    def __init__(self, folder: Path) -> None:
        self.app = create_app(folder, Announcer(Emitter({"node": "api"})))

    def end(self) -> None:
        async def live() -> None:
            async with self.app.router.lifespan_context(self.app):
                pass

        asyncio.run(live())

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://api:8080") as client:
                return await client.request(method, path, **options)

        return asyncio.run(call())

    def get(self, path: str) -> httpx.Response:
        return self._ask("GET", path)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self._ask("POST", path, **options)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    client = Client(tmp_path)
    sweep = {"project": "p", "entity": "e", "wandb_sweep_id": "w"}
    client.post("/sweeps/s/create_sweep", json=sweep)
    yield client
    client.end()


def strike(folder: Path, **rule: Any) -> None:
    write_rules(folder, (ApiFaultRule(fault="f", **rule),))


def name(client: Client) -> str:
    answer = client.post("/sweeps/s/runs/next")
    return str(answer.json()["run_id"])


def test_a_status_is_answered_from_the_first_to_the_last_call(
    client: Client, tmp_path: Path
) -> None:
    strike(tmp_path, route=NEXT, first=2, last=3, status=503)
    statuses = [client.post("/sweeps/s/runs/next").status_code for _ in range(4)]

    assert statuses == [200, 503, 503, 200]
    assert client.get("/sweeps/s").status_code == 200


def test_it_ends_with_its_rule(client: Client, tmp_path: Path) -> None:
    strike(tmp_path, route=NEXT, status=500)
    assert client.post("/sweeps/s/runs/next").status_code == 500
    write_rules(tmp_path, ())

    assert name(client) == "s.r.1"


def test_every_route_but_health_rejects_tokens(client: Client, tmp_path: Path) -> None:
    strike(tmp_path, status=401, detail="X-Auth-Token is not known")

    assert client.get("/whoami").status_code == 401
    assert client.get("/health").status_code == 200


def test_broken_json_is_half_an_answer_of_a_service_that_was_asked(
    client: Client, tmp_path: Path
) -> None:
    strike(tmp_path, route=NEXT, broken_json=True)
    answer = client.post("/sweeps/s/runs/next")
    write_rules(tmp_path, ())

    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        answer.json()
    assert name(client) == "s.r.2"


def test_a_name_is_left_out_also_under_a_key(client: Client, tmp_path: Path) -> None:
    strike(tmp_path, route=NEXT, run_name="skipped", first=2, last=2)
    names = [
        client.post("/sweeps/s/runs/next", headers={"Idempotency-Key": str(key)}).json()["run_id"]
        for key in range(3)
    ]

    assert names == ["s.r.1", "s.r.3", "s.r.4"]


def test_a_name_is_given_twice(client: Client, tmp_path: Path) -> None:
    strike(tmp_path, route=NEXT, run_name="duplicate", first=2, last=2)

    assert [name(client) for _ in range(3)] == ["s.r.1", "s.r.1", "s.r.2"]


def test_what_was_struck_is_marked_in_the_record(client: Client, tmp_path: Path) -> None:
    strike(tmp_path, route=NEXT, status=503)
    client.post("/sweeps/s/runs/next")
    last = (tmp_path / "requests.jsonl").read_text().splitlines()[-1]

    assert '"scripted": true' in last
    assert '"fault": "f"' in last
