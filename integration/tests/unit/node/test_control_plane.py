"""The client: what it sends, when it tries again, and how it says what went wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
from responses import matchers

from metta_sandbox.errors import InputError, SandboxError
from metta_sandbox.node.control_plane import (
    LONGEST_PAUSE,
    ControlPlane,
    ControlPlaneError,
    CreatedSweep,
    MalformedAnswerError,
    RefusedError,
    Sweep,
    UnreachableError,
    User,
)

OBSERVATORY = "http://dummy-api:8080"
COGWEB = "http://dummy-api:8081"
NEXT = f"{COGWEB}/sweeps/s/runs/next"
TOKEN = "tok-of-mine"


@pytest.fixture
def mock() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def plane(pauses: list[float]) -> ControlPlane:
    return ControlPlane(OBSERVATORY, COGWEB, TOKEN, pause=pauses.append)


def keys(mock: responses.RequestsMock) -> list[str]:
    return [call.request.headers["Idempotency-Key"] for call in mock.calls]


def test_a_sweep_is_looked_up(mock: responses.RequestsMock, plane: ControlPlane) -> None:
    mock.get(f"{COGWEB}/sweeps/s", json={"exists": False, "wandb_sweep_id": ""})

    assert plane.sweep("s") == Sweep(exists=False, wandb_sweep_id="")


def test_a_sweep_is_registered(mock: responses.RequestsMock, plane: ControlPlane) -> None:
    sent = matchers.json_params_matcher({"project": "p", "entity": "e", "wandb_sweep_id": "w"})
    mock.post(
        f"{COGWEB}/sweeps/s/create_sweep", json={"created": True, "sweep_id": "u"}, match=[sent]
    )

    assert plane.create_sweep("s", "p", "e", "w") == CreatedSweep(created=True, sweep_id="u")


def test_names_are_quoted_in_paths(mock: responses.RequestsMock, plane: ControlPlane) -> None:
    mock.post(f"{COGWEB}/sweeps/a%2Fb%20c%3F/runs/next", json={"run_id": "x"})

    assert plane.next_run("a/b c?") == "x"


@pytest.mark.parametrize(
    ("report", "path", "body"),
    [
        (
            lambda plane: plane.training_run("r", {"seed": 1}),
            "training-runs",
            {"name": "r", "attributes": {"seed": 1}},
        ),
        (
            lambda plane: plane.epoch("run", 0, 4),
            "training-runs/run/epochs",
            {"start_training_epoch": 0, "end_training_epoch": 4, "attributes": {}},
        ),
        (
            lambda plane: plane.policy("p", url="file:///x", epoch_id="e"),
            "policies",
            {"name": "p", "url": "file:///x", "epoch_id": "e"},
        ),
        (
            lambda plane: plane.episode("p", {"0": {"reward": 1.5}}, {"map": "m"}),
            "episodes",
            {
                "primary_policy_id": "p",
                "agent_metrics": {"0": {"reward": 1.5}},
                "attributes": {"map": "m"},
            },
        ),
    ],
)
def test_statistics_go_to_observatory(
    mock: responses.RequestsMock,
    plane: ControlPlane,
    report: Callable[[ControlPlane], str],
    path: str,
    body: dict[str, Any],
) -> None:
    url = f"{OBSERVATORY}/stats/{path}"
    mock.post(url, json={"id": "u"}, match=[matchers.json_params_matcher(body)])

    assert report(plane) == "u"


def test_whoami_sends_the_token(mock: responses.RequestsMock, plane: ControlPlane) -> None:
    mock.get(
        f"{OBSERVATORY}/whoami",
        json={"user_email": "me", "authenticated": True},
        match=[matchers.header_matcher({"X-Auth-Token": TOKEN})],
    )

    assert plane.whoami() == User(email="me", authenticated=True)


def test_without_a_token_there_is_no_header(mock: responses.RequestsMock) -> None:
    mock.get(f"{COGWEB}/sweeps/s", json={"exists": True, "wandb_sweep_id": "w"})
    ControlPlane(OBSERVATORY, COGWEB).sweep("s")

    assert "X-Auth-Token" not in mock.calls[0].request.headers


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_passes_is_tried_again_with_the_same_key(
    mock: responses.RequestsMock, plane: ControlPlane, pauses: list[float], status: int
) -> None:
    mock.post(NEXT, status=status)
    mock.post(NEXT, body=requests.ConnectionError("lost"))
    mock.post(NEXT, body=requests.ReadTimeout("late"))
    mock.post(NEXT, json={"run_id": "s.r.1"})

    assert plane.next_run("s") == "s.r.1"
    assert len(keys(mock)) == 4
    assert len(set(keys(mock))) == 1
    assert len(pauses) == 3


def test_an_answer_that_broke_off_is_asked_for_again_with_the_same_key(
    mock: responses.RequestsMock, plane: ControlPlane, pauses: list[float]
) -> None:
    mock.post(NEXT, body='{"run_id": "s.')
    mock.post(NEXT, body="")
    mock.post(NEXT, json={"run_id": "s.r.1"})

    assert plane.next_run("s") == "s.r.1"
    assert (len(keys(mock)), len(set(keys(mock))), len(pauses)) == (3, 1, 2)


def test_one_that_always_breaks_off_is_told_with_its_tries(mock: responses.RequestsMock) -> None:
    mock.post(NEXT, body='{"run_id": "s.')
    plane = ControlPlane(OBSERVATORY, COGWEB, retries=2, pause=lambda _: None)
    with pytest.raises(MalformedAnswerError, match=r"\(after 3 tries\): expected JSON") as caught:
        plane.next_run("s")

    assert caught.value.tries == 3


def test_each_call_has_a_key_of_its_own(mock: responses.RequestsMock, plane: ControlPlane) -> None:
    mock.post(NEXT, json={"run_id": "s.r.1"})
    plane.next_run("s")
    plane.next_run("s")

    assert len(set(keys(mock))) == 2


def test_pauses_double_up_to_the_longest_and_differ(
    mock: responses.RequestsMock, pauses: list[float]
) -> None:
    mock.post(NEXT, status=503)
    plane = ControlPlane(OBSERVATORY, COGWEB, retries=9, deadline=1000, pause=pauses.append)
    with pytest.raises(RefusedError):
        plane.next_run("s")

    longest = [min(LONGEST_PAUSE, 0.1 * 2**n) for n in range(9)]
    assert len(pauses) == 9
    assert all(most / 2 <= pause <= most for pause, most in zip(pauses, longest, strict=True))
    assert len({pause / most for pause, most in zip(pauses, longest, strict=True)}) == 9


def test_retry_after_is_honoured(
    mock: responses.RequestsMock, plane: ControlPlane, pauses: list[float]
) -> None:
    mock.post(NEXT, status=429, headers={"Retry-After": "7"})
    mock.post(NEXT, json={"run_id": "s.r.1"})
    plane.next_run("s")

    assert pauses == [7.0]


def test_no_pause_goes_beyond_the_deadline(
    mock: responses.RequestsMock, plane: ControlPlane, pauses: list[float]
) -> None:
    mock.post(NEXT, status=429, headers={"Retry-After": "31"}, json={"detail": "later"})
    with pytest.raises(RefusedError, match="answered 429: later"):
        plane.next_run("s")

    assert pauses == []


def test_no_try_waits_beyond_the_deadline(mock: responses.RequestsMock) -> None:
    mock.post(NEXT, body=requests.ReadTimeout("late"))
    plane = ControlPlane(OBSERVATORY, COGWEB, timeout=60, deadline=0.05)
    with pytest.raises(UnreachableError, match=r"timed out after 0\.\d s that were left"):
        plane.next_run("s")

    timeout = mock.calls[0].request.req_kwargs["timeout"]  # type: ignore[attr-defined]
    assert 0 < timeout <= 0.05


def test_silence_is_told_with_address_tries_and_seconds(mock: responses.RequestsMock) -> None:
    mock.post(NEXT, body=requests.ReadTimeout("late"))
    plane = ControlPlane(OBSERVATORY, COGWEB, retries=2, timeout=1.5, pause=lambda _: None)
    with pytest.raises(UnreachableError) as caught:
        plane.next_run("s")

    told = rf"^{re.escape(NEXT)} gave no answer in 3 tries over \d\.\d s: timed out after 1\.5 s"
    assert re.match(told, str(caught.value))
    assert caught.value.tries == 3
    assert caught.value.url == NEXT


def test_a_closed_port_is_told_in_the_system_s_words() -> None:
    plane = ControlPlane("http://127.0.0.1:9", "http://127.0.0.1:9", retries=0)
    with pytest.raises(UnreachableError, match=r"in 1 try over .*: Connection refused"):
        plane.next_run("s")


@pytest.mark.parametrize(
    ("status", "answer", "detail"),
    [
        (404, {"json": {"detail": "no sweep 's'"}}, "no sweep 's'"),
        (
            422,
            {"json": {"detail": [{"loc": ["body", "entity"], "msg": "Field required"}]}},
            "body.entity: Field required",
        ),
        (422, {"json": {"detail": ["odd"]}}, "['odd']"),
        (401, {"json": {"detail": "X-Auth-Token is missing"}}, "X-Auth-Token is missing"),
        (500, {"body": "<h1>oh\n no</h1>"}, "<h1>oh no</h1>"),
        (500, {"json": ["oh no"]}, '["oh no"]'),
        (500, {"body": ""}, "Internal Server Error"),
        (400, {"body": "x" * 5000}, "x" * 300 + "…"),
        (307, {"headers": {"Location": "http://elsewhere"}}, "Temporary Redirect"),
    ],
)
def test_a_refusal_is_told_and_not_repeated(
    mock: responses.RequestsMock,
    plane: ControlPlane,
    status: int,
    answer: dict[str, Any],
    detail: str,
) -> None:
    mock.post(NEXT, status=status, **answer)
    with pytest.raises(RefusedError) as caught:
        plane.next_run("s")

    assert (caught.value.status, caught.value.detail) == (status, detail)
    assert str(caught.value).startswith(f"POST {NEXT} answered {status}: {detail}")
    assert len(mock.calls) == 1


def test_a_lasting_503_is_a_refusal_that_counts_its_tries(mock: responses.RequestsMock) -> None:
    mock.post(NEXT, status=503, json={"detail": "starting"})
    plane = ControlPlane(OBSERVATORY, COGWEB, retries=3, pause=lambda _: None)
    with pytest.raises(RefusedError, match=r"answered 503 \(after 4 tries\): starting"):
        plane.next_run("s")


@pytest.mark.parametrize(
    ("answer", "expected", "found"),
    [
        ({"body": '{"run_id": "s.'}, "JSON", '{"run_id": "s.'),
        ({"body": "<html>\n</html>"}, "JSON", "<html> </html>"),
        ({"body": ""}, "JSON", "nothing"),
        ({"json": {}}, "an object with 'run_id' (str)", "{}"),
        ({"json": {"run_id": 7}}, "an object with 'run_id' (str)", '{"run_id": 7}'),
        ({"json": {"run_id": ""}}, "an object with 'run_id' (str)", '{"run_id": ""}'),
        ({"json": ["s.r.1"]}, "an object with 'run_id' (str)", '["s.r.1"]'),
    ],
)
def test_an_answer_that_is_none_is_told(
    mock: responses.RequestsMock,
    plane: ControlPlane,
    answer: dict[str, Any],
    expected: str,
    found: str,
) -> None:
    mock.post(NEXT, **answer)
    with pytest.raises(MalformedAnswerError) as caught:
        plane.next_run("s")

    assert (caught.value.expected, caught.value.found) == (expected, found)
    assert f"POST {NEXT}" in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 404, "json": {"detail": f"bad {TOKEN}"}},
        {"status": 500, "body": "x" * 295 + TOKEN},
        {"status": 200, "body": f"<html>{TOKEN}"},
        {"status": 200, "json": {"token": TOKEN}},
        {"body": requests.ConnectionError(TOKEN)},
        {"body": requests.ConnectionError(OSError(1, TOKEN))},
    ],
)
def test_no_message_and_no_repr_shows_the_token(
    mock: responses.RequestsMock, answer: dict[str, Any]
) -> None:
    plane = ControlPlane(OBSERVATORY, COGWEB, TOKEN, retries=0)
    mock.post(NEXT, **answer)
    with pytest.raises(ControlPlaneError) as caught:
        plane.next_run("s")

    assert isinstance(caught.value, SandboxError)
    assert TOKEN[:5] not in str(caught.value) + repr(caught.value) + repr(plane)


def test_what_json_cannot_say_is_not_sent(plane: ControlPlane) -> None:
    with pytest.raises(InputError, match=r"/stats/episodes: cannot be said in JSON"):
        plane.episode("p", {"0": {"reward": float("nan")}})


@pytest.mark.parametrize(
    "url", ["dummy-api:8080", "ftp://dummy-api", "http://", "http://a:port", "http://a:99999"]
)
def test_an_address_that_is_none_is_named(url: str) -> None:
    with pytest.raises(InputError, match=f"COGWEB_URL is '{re.escape(url)}'"):
        ControlPlane(OBSERVATORY, url)


def test_the_environment_says_where(mock: responses.RequestsMock, tmp_path: Path) -> None:
    tokens = tmp_path / ".metta" / "observatory_tokens.yaml"
    tokens.parent.mkdir()
    tokens.write_text(f"https://observatory.example.org: {TOKEN}\n")
    environ = {"OBSERVATORY_URL": f"{OBSERVATORY}/", "COGWEB_URL": f"{COGWEB}/"}
    mock.get(f"{COGWEB}/sweeps/s", json={"exists": True, "wandb_sweep_id": "w"})
    ControlPlane.from_environment(environ, home=tmp_path).sweep("s")

    assert mock.calls[0].request.headers["X-Auth-Token"] == TOKEN


def test_a_token_is_not_shown_to_a_stranger(mock: responses.RequestsMock, tmp_path: Path) -> None:
    tokens = tmp_path / ".metta" / "observatory_tokens.yaml"
    tokens.parent.mkdir()
    tokens.write_text(f"https://observatory.example.org: {TOKEN}\n")
    url = "https://elsewhere.example.org"
    mock.get(f"{url}/whoami", json={"user_email": "x", "authenticated": False})
    environ = {"OBSERVATORY_URL": url, "COGWEB_URL": url}
    ControlPlane.from_environment(environ, home=tmp_path).whoami()

    assert "X-Auth-Token" not in mock.calls[0].request.headers


@pytest.mark.parametrize("missing", ["OBSERVATORY_URL", "COGWEB_URL"])
def test_a_missing_address_is_named(tmp_path: Path, missing: str) -> None:
    environ = {"OBSERVATORY_URL": OBSERVATORY, "COGWEB_URL": COGWEB, missing: ""}
    with pytest.raises(InputError, match=f"{missing} is not set"):
        ControlPlane.from_environment(environ, home=tmp_path)


def test_a_body_is_sent_as_json(mock: responses.RequestsMock, plane: ControlPlane) -> None:
    mock.post(f"{OBSERVATORY}/stats/policies", json={"id": "u"})
    plane.policy("p")
    request = mock.calls[0].request

    assert request.headers["Content-Type"] == "application/json"
    assert json.loads(request.body or b"") == {"name": "p", "url": None, "epoch_id": None}
