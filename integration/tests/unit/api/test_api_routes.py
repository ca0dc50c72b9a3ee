"""Every row of the control plane's contract, and who gets in."""

from __future__ import annotations

import asyncio
import io
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from metta_sandbox.api.announcer import Announcer
from metta_sandbox.api.app import create_app
from metta_sandbox.api.table import DOCUMENT, document, served
from metta_sandbox.errors import MachineError
from metta_sandbox.node.agent.emitter import Emitter
from metta_sandbox.observatory_tokens import Tokens

SWEEP = {"project": "p", "entity": "e", "wandb_sweep_id": "w"}
TOKEN = "tok-of-mine"
EPISODE = {"primary_policy_id": "p", "agent_metrics": {"0": {"reward": 1.5}}}


class Client:
    """Calls an application without a socket in between."""

    def __init__(self, app: FastAPI, port: int) -> None:
        self._app = app
        self._base = f"http://dummy-api:{port}"

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url=self._base) as client:
                return await client.request(method, path, **options)

        return asyncio.run(call())

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)


def end(app: FastAPI) -> None:
    """Close what the application holds, as the end of its lifespan does."""

    async def live() -> None:
        async with app.router.lifespan_context(app):
            pass

    asyncio.run(live())


class Plane:
    """A control plane called directly, with its transcript and its events."""

    def __init__(self, data: Path, client: Client, mirror: io.StringIO) -> None:
        self.client = client
        self._data = data
        self._mirror = mirror

    def transcript(self) -> list[dict[str, Any]]:
        text = (self._data / "requests.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._mirror.getvalue().splitlines()]


Start = Callable[..., Plane]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def start(port: int = 8080, **tokens: str) -> Plane:
            mirror = io.StringIO()
            app = create_app(
                tmp_path,
                Announcer(Emitter({"node": "api"}, mirror=mirror)),
                tokens=Tokens({f"https://{host}": token for host, token in tokens.items()}),
            )
            stack.callback(end, app)
            return Plane(tmp_path, Client(app, port), mirror)

        yield start


@pytest.fixture
def plane(start: Start) -> Plane:
    return start()


@pytest.fixture
def client(plane: Plane) -> Client:
    return plane.client


def test_an_unknown_sweep_does_not_exist(client: Client) -> None:
    answer = client.get("/sweeps/s")

    assert answer.status_code == 200
    assert answer.json() == {"exists": False, "wandb_sweep_id": ""}


def test_a_sweep_is_created_once(client: Client) -> None:
    first = client.post("/sweeps/s/create_sweep", json=SWEEP).json()
    second = client.post("/sweeps/s/create_sweep", json=SWEEP).json()

    assert first["created"] is True
    assert second == {"created": False, "sweep_id": first["sweep_id"]}
    assert uuid.UUID(first["sweep_id"])
    assert client.get("/sweeps/s").json() == {"exists": True, "wandb_sweep_id": "w"}


def test_run_names_are_counted_and_a_key_gets_its_name_again(client: Client) -> None:
    client.post("/sweeps/s/create_sweep", json=SWEEP)
    url = "/sweeps/s/runs/next"

    assert client.post(url).json() == {"run_id": "s.r.1"}
    assert client.post(url, headers={"Idempotency-Key": "k"}).json() == {"run_id": "s.r.2"}
    assert client.post(url, headers={"Idempotency-Key": "k"}).json() == {"run_id": "s.r.2"}
    assert client.post(url).json() == {"run_id": "s.r.3"}


def test_a_run_of_an_unknown_sweep_is_a_404_that_names_it(client: Client) -> None:
    answer = client.post("/sweeps/nobody/runs/next")

    assert answer.status_code == 404
    assert "'nobody'" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/stats/training-runs", {"name": "s.r.1", "tags": ["x"]}),
        ("/stats/policies", {"name": "p", "url": "file:///x"}),
        ("/stats/episodes", EPISODE),
    ],
)
def test_statistics_are_kept_whole_and_read_back(
    client: Client, path: str, body: dict[str, Any]
) -> None:
    answer = client.post(path, json=body)
    record_id = answer.json()["id"]

    assert answer.status_code == 200
    assert uuid.UUID(record_id)
    assert client.get(f"{path}/{record_id}").json() == {**body, "id": record_id}
    assert client.get(path).json() == [{**body, "id": record_id}]
    assert client.get(f"{path}/nobody").status_code == 404


def test_epochs_belong_to_their_run(client: Client) -> None:
    run, other = (
        client.post("/stats/training-runs", json={"name": name}).json()["id"] for name in "ab"
    )
    body = {"start_training_epoch": 0, "end_training_epoch": 4, "attributes": {"x": 1}}
    path = f"/stats/training-runs/{run}/epochs"
    epoch = client.post(path, json=body).json()["id"]

    assert client.get(path).json() == [{**body, "id": epoch}]
    assert client.get(f"{path}/{epoch}").json() == {**body, "id": epoch}
    assert client.get(f"/stats/training-runs/{other}/epochs").json() == []
    assert client.get(f"/stats/training-runs/{other}/epochs/{epoch}").status_code == 404
    for method in ("GET", "POST"):
        answer = client.request(method, "/stats/training-runs/nobody/epochs", json=body)
        assert answer.status_code == 404
        assert "'nobody'" in answer.json()["detail"]


def test_a_report_sent_twice_with_one_key_is_one_report(client: Client) -> None:
    headers = {"Idempotency-Key": "k"}
    ids = {
        client.post("/stats/policies", json={"name": "p"}, headers=headers).json()["id"]
        for _ in range(2)
    }

    assert len(ids) == 1
    assert len(client.get("/stats/policies").json()) == 1


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/sweeps/s/create_sweep", {"project": "p", "entity": "e"}, "wandb_sweep_id"),
        ("/sweeps/s/create_sweep", {**SWEEP, "entity": 3}, "entity"),
        ("/stats/training-runs", {"url": "x"}, "name"),
        ("/stats/policies", {"name": ""}, "name"),
        ("/stats/episodes", {"primary_policy_id": "p"}, "agent_metrics"),
        ("/stats/training-runs/x/epochs", {"start_training_epoch": 0}, "end_training_epoch"),
    ],
)
def test_a_wrong_field_is_a_422_that_names_it(
    client: Client, path: str, body: dict[str, Any], field: str
) -> None:
    answer = client.post(path, json=body)

    assert answer.status_code == 422
    assert [problem["loc"] for problem in answer.json()["detail"]] == [["body", field]]


@pytest.mark.parametrize(
    "body", [b"{", b"", b"[]", b'{"project": NaN}', b"\xff", b"[" * 100_000, b"nonsense"]
)
def test_bad_json_is_a_422(client: Client, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client.post("/sweeps/s/create_sweep", content=body, headers=headers)

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][0] == "body"


def test_what_does_not_exist_is_said_in_json(client: Client) -> None:
    assert client.get("/nowhere").json() == {"detail": "Not Found"}
    assert client.get("/nowhere").status_code == 404
    assert client.get("/sweeps/s/").status_code == 404
    assert client.request("DELETE", "/sweeps/s").json() == {"detail": "Method Not Allowed"}


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": "\\ud800"}',
        b'{"name": "\xed\xa0\x80"}',
        b'{"name": "x", "y": 1e999}',
        b'{"name": "x", "y": -1e999}',
        b'{"name": ' + b"9" * 5000 + b"}",
        b"\xff\xfe\xff",
        b"[" * 100_000,
    ],
)
def test_what_cannot_be_given_back_is_refused(plane: Plane, body: bytes) -> None:
    for kind in ("application/json", "text/plain", ""):
        answer = plane.client.post("/stats/policies", content=body, headers={"Content-Type": kind})
        assert answer.status_code == 422
        assert answer.json()["detail"]
    assert plane.client.get("/stats/policies").json() == []
    assert [line["status"] for line in plane.transcript()] == [422, 422, 422, 200]


def test_what_breaks_inside_is_a_recorded_500(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def explode(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("metta_sandbox.api.store.Store.wandb_sweep_id", explode)
    answer = plane.client.get("/sweeps/s")

    assert answer.status_code == 500
    assert "No space left on device" in answer.json()["detail"]
    assert plane.transcript()[0]["status"] == 500
    assert "Traceback" in capsys.readouterr().err


def test_without_tokens_everybody_is_anonymous(client: Client) -> None:
    answer = client.get("/whoami", headers={"X-Auth-Token": "whatever"})

    assert answer.json() == {"user_email": "anonymous", "authenticated": False}


def test_a_known_token_gets_in(start: Start) -> None:
    client = start(observatory=TOKEN).client
    answer = client.get("/whoami", headers={"X-Auth-Token": TOKEN})

    assert answer.json() == {"user_email": "sandbox@observatory", "authenticated": True}


@pytest.mark.parametrize("path", ["/whoami", "/sweeps/s", "/nowhere"])
def test_a_stranger_stays_out(start: Start, path: str) -> None:
    client = start(observatory=TOKEN).client

    assert client.get(path).status_code == 401
    assert client.get(path).json() == {"detail": "X-Auth-Token is missing"}
    wrong = client.get(path, headers={"X-Auth-Token": "other"})
    assert wrong.status_code == 401
    assert wrong.json() == {"detail": "X-Auth-Token is not known"}


def test_health_needs_no_token(start: Start) -> None:
    answer = start(observatory=TOKEN).client.get("/health")

    assert answer.status_code == 200
    assert answer.json() == {"status": "ok"}


def test_refused_calls_are_recorded_and_no_token_is(start: Start) -> None:
    plane = start(observatory=TOKEN)
    wrong = "wrong-one"
    plane.client.get("/sweeps/s", headers={"X-Auth-Token": wrong})
    plane.client.post(
        f"/sweeps/{wrong}/create_sweep?t={TOKEN}",
        json={"project": TOKEN, "entity": wrong},
        headers={"X-Auth-Token": TOKEN},
    )

    lines = plane.transcript()
    assert [(line["status"], line["authenticated"]) for line in lines] == [
        (401, False),
        (422, True),
    ]
    everything = json.dumps(lines) + json.dumps(plane.events())
    assert TOKEN not in everything
    # A presented header is hidden where it was presented; this text came without it.
    assert wrong not in json.dumps(lines[0])


def test_each_call_is_recorded_with_its_number_and_announced(plane: Plane) -> None:
    plane.client.post("/sweeps/a/create_sweep", json=SWEEP)
    plane.client.post("/sweeps/b/create_sweep", json=SWEEP)
    plane.client.get("/sweeps/a")
    plane.client.get("/nowhere")

    lines = plane.transcript()
    assert [(line["method"], line["route"], line["call"]) for line in lines] == [
        ("POST", "/sweeps/{name}/create_sweep", 1),
        ("POST", "/sweeps/{name}/create_sweep", 2),
        ("GET", "/sweeps/{name}", 1),
        ("GET", None, 1),
    ]
    assert [line["seq"] for line in lines] == [1, 2, 3, 4]
    assert lines[0]["request"] == SWEEP
    assert lines[0]["response"]["created"] is True
    assert all(line["seconds"] >= 0 for line in lines)
    events = plane.events()
    assert [event["event"] for event in events] == ["api.request"] * 4
    shared = ("service", "method", "route", "path", "call", "status")
    assert [[event[name] for name in shared] for event in events] == [
        [line[name] for name in shared] for line in lines
    ]


def test_liveness_is_recorded_and_not_announced(plane: Plane) -> None:
    plane.client.get("/health")

    assert [line["route"] for line in plane.transcript()] == ["/health"]
    assert plane.events() == []


@pytest.mark.parametrize(("port", "service"), [(8080, "observatory"), (8081, "cogweb")])
def test_the_port_tells_the_service(start: Start, port: int, service: str) -> None:
    plane = start(port)
    plane.client.get("/sweeps/s")

    assert [(line["port"], line["service"]) for line in plane.transcript()] == [(port, service)]


def test_the_answer_seam_replaces_an_answer_and_records_it(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metta_sandbox.api.exchange import ApiAnswer, ReceivedCall  # noqa: PLC0415
    from metta_sandbox.api.middleware import Recorder  # noqa: PLC0415

    async def teapot(_: Recorder, call: ReceivedCall) -> ApiAnswer:
        return ApiAnswer(418, f"call {call.number} of {call.route}".encode())

    monkeypatch.setattr(Recorder, "answer", teapot)
    answer = plane.client.get("/sweeps/s")

    assert (answer.status_code, answer.text) == (418, "call 1 of /sweeps/{name}")
    assert plane.transcript()[0]["response"] == "call 1 of /sweeps/{name}"


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match=r"file/data: Not a directory"):
        create_app(tmp_path / "file" / "data")


def test_the_page_about_the_control_plane_has_the_routes_that_are_served(tmp_path: Path) -> None:
    app = create_app(tmp_path)
    end(app)

    assert len(list(served(app))) == 48
    assert DOCUMENT.read_text() == document(app), "python -m metta_sandbox.api.table"
