"""What tests of the stand-in for W&B share: one that is called directly, as the client calls it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from metta_sandbox.services.wandb.app import create_app
from metta_sandbox.services.wandb.records import Records, RunRecord

KEY = "k" * 40
UPSERT = """mutation UpsertBucket($input: UpsertBucketInput!) {
  upsertBucket(input: $input) { bucket { id name displayName config sweepName } inserted }
}"""
SWEEP = """mutation UpsertSweep($id: ID, $config: String, $state: String) {
  upsertSweep(input: {id: $id, config: $config, state: $state, projectName: "p"}) {
    sweep { id name state } configValidationWarnings }
}"""
AGENT = """mutation CreateAgent($sweep: String!) {
  createAgent(input: {host: "h", projectName: "p", sweep: $sweep}) { agent { id } }
}"""
HEARTBEAT = """mutation Heartbeat($id: ID!, $runState: JSONString) {
  agentHeartbeat(input: {id: $id, runState: $runState}) { agent { id } commands }
}"""


class StandIn:
    """A server without a socket.

    Args:
        data: Its data folder.
        options: Of ``create_app``.

    """

    def __init__(self, data: Path, **options: Any) -> None:
        self.data = data
        self.app = create_app(data, **options)

    def close(self) -> None:
        """End it."""
        messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

        async def receive() -> dict[str, Any]:
            return messages.pop(0)

        async def send(_: Any) -> None:
            return

        asyncio.run(self.app({"type": "lifespan"}, receive, send))  # type: ignore[arg-type]

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send one request, with a key if none is given."""
        options.setdefault("auth", ("api", KEY))
        address = options.pop("address", "10.0.0.1")

        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, client=(address, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://wb:1") as client:
                return await client.request(method, path, **options)

        return asyncio.run(call())

    def answer(self, query: str, **variables: Any) -> httpx.Response:
        """Ask for something by GraphQL."""
        return self.ask("POST", "/graphql", json={"query": query, "variables": variables})

    def data_of(self, query: str, **variables: Any) -> Any:
        """Ask for something by GraphQL that must be there."""
        answer = self.answer(query, **variables)
        assert answer.status_code == 200, answer.text
        assert "errors" not in answer.json(), answer.text
        return answer.json()["data"]

    def upsert(self, name: str = "r1", **columns: Any) -> dict[str, Any]:
        """Make or change a run of the project ``p``."""
        given = {"modelName": "p", "name": name, **columns}
        found: dict[str, Any] = self.data_of(UPSERT, input=given)["upsertBucket"]
        return found

    def stream(self, name: str = "r1", address: str = "10.0.0.1", **parts: Any) -> httpx.Response:
        """Send a run's stream: ``history=(offset, rows)``, ``complete``, ``exitcode``."""
        names = {"history": "wandb-history.jsonl", "summary": "wandb-summary.json"}
        names["output"] = "output.log"
        files = {
            names[key]: {
                "offset": parts[key][0],
                "content": [
                    row if isinstance(row, str) else json.dumps(row) for row in parts[key][1]
                ],
            }
            for key in names
            if key in parts
        }
        rest = {key: value for key, value in parts.items() if key not in names}
        path = f"/files/sandbox/p/{name}/file_stream"
        return self.ask("POST", path, json={"files": files, **rest}, address=address)

    def run(self, fields: str, name: str = "r1") -> Any:
        """Ask for fields of a run."""
        query = f'query Q($n: String!) {{ project(name: "p") {{ run(name: $n) {{ {fields} }} }} }}'
        return self.data_of(query, n=name)["project"]["run"]

    def sweep(self, config: dict[str, Any]) -> dict[str, Any]:
        """Make a sweep."""
        found: dict[str, Any] = self.data_of(SWEEP, config=json.dumps(config))["upsertSweep"][
            "sweep"
        ]
        return found

    def agent(self, sweep: str) -> str:
        """Make an agent; give its id."""
        return str(self.data_of(AGENT, sweep=sweep)["createAgent"]["agent"]["id"])

    def commands(self, agent: str, *running: str) -> list[dict[str, Any]]:
        """Let an agent give its sign of life."""
        state = json.dumps(dict.fromkeys(running, True))
        answer = self.data_of(HEARTBEAT, id=agent, runState=state)["agentHeartbeat"]
        found: list[dict[str, Any]] = json.loads(answer["commands"])
        return found

    def records(self) -> Records:
        """Read its store."""
        return Records(self.data)

    def record(self, name: str = "r1") -> RunRecord:
        """Read a run from its store."""
        with closing(self.records()) as records:
            return next(run for run in records.runs() if run.name == name)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Callable[..., StandIn]]:
    """Make servers, whose stores are closed at the end."""
    servers: list[StandIn] = []

    def make(**options: Any) -> StandIn:
        servers.append(StandIn(tmp_path / str(len(servers)), **options))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def server(made: Callable[..., StandIn]) -> StandIn:
    """Give a server."""
    return made()
