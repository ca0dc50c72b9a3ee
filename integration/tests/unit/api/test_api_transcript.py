"""The transcript file: what a line holds, what it hides, and how it survives."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from metta_sandbox.api.exchange import ApiAnswer, ReceivedCall
from metta_sandbox.api.transcript import LONGEST_BODY, Transcript, cut, readable, record_of, redact
from metta_sandbox.errors import MachineError


def call(**changes: Any) -> ReceivedCall:
    scope = {
        "type": "http",
        "method": "POST",
        "path": changes.pop("path", "/sweeps/s/runs/next"),
        "query_string": changes.pop("query", b""),
        "headers": [],
        "client": ("127.0.0.2", 4711),
    }
    fields = {"body": b"", "port": 8081, "service": "cogweb", "route": "/r", "number": 1}
    return ReceivedCall(scope=scope, **{**fields, **changes})


def write(transcript: Transcript, record: dict[str, Any]) -> None:
    transcript.write(record, wall=time.time(), mono=time.monotonic())


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line]


RECORD = {"method": "POST", "route": "/r"}


def test_a_record_names_every_field() -> None:
    record = record_of(
        call(body=b'{"a": 1}', query=b"x=1&x=2"),
        ApiAnswer(200, b'{"run_id": "s.r.1"}'),
        authenticated=True,
        secrets=[],
    )

    assert record == {
        "port": 8081,
        "service": "cogweb",
        "method": "POST",
        "route": "/r",
        "path": "/sweeps/s/runs/next",
        "query": {"x": ["1", "2"]},
        "call": 1,
        "request": {"a": 1},
        "status": 200,
        "response": {"run_id": "s.r.1"},
        "client": "127.0.0.2:4711",
        "authenticated": True,
    }


def test_a_caller_who_left_has_no_answer() -> None:
    record = record_of(call(), None, authenticated=False, secrets=[])

    assert record["status"] is None
    assert record["response"] is None


def test_a_token_shows_nowhere() -> None:
    body = json.dumps({"tok-1": [{"deep": "x tok-1 y"}, True, None, 1.5]}).encode()
    record = record_of(
        call(body=body, path="/sweeps/tok-1", query=b"token=%74ok-1"),
        ApiAnswer(404, b"plain tok-1 text"),
        authenticated=False,
        secrets=["tok-1", ""],
    )

    assert "tok-1" not in json.dumps(record)
    assert record["request"] == {"[token]": [{"deep": "x [token] y"}, True, None, 1.5]}
    assert record["query"] == {"token": ["[token]"]}


def test_a_token_inside_another_leaves_no_rest() -> None:
    record = record_of(call(body=b"abcdef"), None, authenticated=False, secrets=["abc", "abcdef"])

    assert record["request"] == "[token]"


def test_a_token_of_digits_is_hidden_as_a_number_too() -> None:
    assert redact({"token": 123456}, ["123456"]) == {"token": "[token]"}


def test_a_token_across_the_cut_is_hidden() -> None:
    body = b"x" * (LONGEST_BODY - 3) + b"secret" + b"y" * 100
    record = record_of(call(body=body), None, authenticated=False, secrets=["secret"])

    assert "sec" not in record["request"]


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"", None),
        (b"[1]", [1]),
        (b'{"a": NaN}', '{"a": NaN}'),
        (b"\xff", "\ufffd"),
        (b"[" * 100_000, "[" * 100_000),
    ],
)
def test_bodies_are_json_or_text(body: bytes, shown: Any) -> None:
    assert readable(body) == shown


def test_a_long_body_is_cut_with_a_mark() -> None:
    length = len(json.dumps({"a": "x" * LONGEST_BODY}))
    shown = cut({"a": "x" * LONGEST_BODY})

    assert shown.startswith('{"a": "xxx')
    assert shown.endswith(f" [cut, {length} characters in all]")
    assert cut({"a": 1}) == {"a": 1}


def test_numbers_and_counts_go_on_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    transcript = Transcript(path)
    assert [transcript.count("POST", "/r"), transcript.count("POST", "/r")] == [1, 2]
    assert transcript.count("GET", "/r") == 1
    write(transcript, RECORD)
    write(transcript, RECORD)
    transcript.close()

    transcript = Transcript(path)
    assert transcript.count("POST", "/r") == 3
    assert transcript.count("GET", "/r") == 1
    write(transcript, RECORD)
    transcript.close()
    assert [line["seq"] for line in lines(path)] == [1, 2, 3]


def test_a_line_torn_by_a_kill_is_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text('{"seq": 1, "method": "POST", "route": "/r"}\n{"seq": 2, "met')
    transcript = Transcript(path)
    write(transcript, RECORD)
    transcript.close()

    first, torn, last = path.read_text().splitlines()
    assert json.loads(first)["seq"] == 1
    assert torn == '{"seq": 2, "met'
    assert json.loads(last)["seq"] == 2


def test_a_full_disk_is_said_and_endured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "requests.jsonl"
    path.symlink_to("/dev/full")
    transcript = Transcript(path)
    write(transcript, RECORD)
    transcript.close()

    assert "cannot record to" in capsys.readouterr().err


def test_a_folder_in_its_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").mkdir()
    with pytest.raises(MachineError, match=r"requests\.jsonl: Is a directory"):
        Transcript(tmp_path / "requests.jsonl")
