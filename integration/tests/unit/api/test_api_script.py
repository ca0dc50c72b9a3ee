"""Answers that a scenario prescribes, at the calls that it names."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from metta_sandbox.api.announcer import Announcer
from metta_sandbox.api.app import create_app
from metta_sandbox.errors import MachineError
from metta_sandbox.node.agent.emitter import Emitter
from metta_sandbox.scenario.services import ANSWERS, ROUTES, Services

NEXT = "POST /sweeps/{name}/runs/next"
SWEEP = {"project": "p", "entity": "e", "wandb_sweep_id": "w"}


class Scripted:
    """A control plane with prescribed answers, called directly."""

    def __init__(self, folder: Path, stack: ExitStack, *rules: dict[str, Any]) -> None:
        services = Services.model_validate({"api": list(rules)})
        (folder / ANSWERS).write_text(services.model_dump_json())
        self._folder = folder
        self.mirror = io.StringIO()
        announcer = Announcer(Emitter({"node": "api"}, mirror=self.mirror))
        self.app = create_app(folder, announcer)
        stack.callback(self._end)

    def _end(self) -> None:
        async def live() -> None:
            async with self.app.router.lifespan_context(self.app):
                pass

        asyncio.run(live())

    def post(self, path: str, **options: Any) -> httpx.Response:
        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://api:8080") as client:
                return await client.post(path, **options)

        return asyncio.run(call())

    def transcript(self) -> list[dict[str, Any]]:
        text = (self._folder / "requests.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.mirror.getvalue().splitlines()]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_the_second_call_alone_is_refused_and_never_reaches_the_service(
    tmp_path: Path, stack: ExitStack
) -> None:
    plane = Scripted(tmp_path, stack, {"route": NEXT, "call": 2, "status": 503})
    plane.post("/sweeps/s/create_sweep", json=SWEEP)

    answers = [plane.post("/sweeps/s/runs/next") for _ in range(3)]

    assert [each.status_code for each in answers] == [200, 503, 200]
    assert [answers[0].json()["run_id"], answers[2].json()["run_id"]] == ["s.r.1", "s.r.2"]


def test_a_scripted_answer_is_marked_in_transcript_and_event(
    tmp_path: Path, stack: ExitStack
) -> None:
    plane = Scripted(tmp_path, stack, {"route": NEXT, "call": 2, "status": 503})
    plane.post("/sweeps/s/runs/next")
    plane.post("/sweeps/s/runs/next")

    first, second = plane.transcript()
    assert "scripted" not in first
    assert (second["scripted"], second["rule"], second["status"]) == (True, 1, 503)
    told = [event.get("scripted") for event in plane.events() if event["event"] == "api.request"]
    assert told == [None, True]


def test_a_text_goes_out_as_it_is_and_anything_else_as_json(
    tmp_path: Path, stack: ExitStack
) -> None:
    plane = Scripted(
        tmp_path,
        stack,
        {"route": NEXT, "call": 1, "body": "not json"},
        {"route": NEXT, "body": {"run_id": 7}, "status": 201},
    )

    first, second = (plane.post("/sweeps/s/runs/next") for _ in range(2))

    assert (first.status_code, first.text) == (200, "not json")
    assert (second.status_code, second.json()) == (201, {"run_id": 7})


def test_a_delay_alone_leaves_the_answer_to_the_service(tmp_path: Path, stack: ExitStack) -> None:
    plane = Scripted(tmp_path, stack, {"route": NEXT, "delay": "100ms"})
    plane.post("/sweeps/s/create_sweep", json=SWEEP)
    began = time.monotonic()

    answer = plane.post("/sweeps/s/runs/next")

    assert answer.json() == {"run_id": "s.r.1"}
    assert time.monotonic() - began >= 0.1
    assert plane.transcript()[-1]["scripted"] is True


def test_a_script_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / ANSWERS).write_text('{"api": [{"route": "GET /nowhere", "status": 503}]}')

    with pytest.raises(MachineError, match=r"no route .GET /nowhere"):
        create_app(tmp_path, Announcer(Emitter({})))


def methods_of(route: APIRoute) -> set[str]:
    assert route.methods is not None
    return route.methods


def test_every_route_but_health_can_be_scripted(tmp_path: Path, stack: ExitStack) -> None:
    app: FastAPI = Scripted(tmp_path, stack).app
    served = {
        f"{method} {route.path}"
        for route in app.routes
        if isinstance(route, APIRoute)
        for method in methods_of(route)
    }

    assert served - {"GET /health"} == set(ROUTES)
