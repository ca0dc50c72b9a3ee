"""Logs over an engine's own socket: the frames that it sends, whole or not."""

from __future__ import annotations

import io
import json
import socketserver
import struct
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from metta_sandbox.stack.engines.compose.engine_socket import copy_log, find_socket


def frame(stream: int, data: bytes) -> bytes:
    return struct.pack(">BxxxL", stream, len(data)) + data


LOGS = {
    "both": frame(1, b"a\r\n") + frame(2, b"b\xff") + frame(1, b"\nc"),
    "long": frame(1, b"x" * 3_000_000) + frame(2, b"y"),
    "silent": b"",
    "cut": frame(1, b"a\n") + frame(1, b"b\n")[:-1],
    "no-head": frame(1, b"a\n") + b"\x01\x00",
    "terminal": b"plain text that has no frames",
}


class _Engine(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        _, kind, name, rest = self.path.split("/")
        assert (kind, rest) == ("containers", "logs?stdout=1&stderr=1")
        self.send_response(200 if name in LOGS else 404)
        self.end_headers()
        self.wfile.write(LOGS.get(name, b'{"message": "No such container"}'))

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def get_request(self) -> tuple[Any, Any]:
        connection, _ = super().get_request()
        return connection, ("engine", 0)


@pytest.fixture
def engine() -> Iterator[Path]:
    # Paths of Unix sockets must be short.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "engine.sock"
        with _Server(str(path), _Engine) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield path
            server.shutdown()


@pytest.mark.parametrize(
    ("name", "log"),
    [("both", b"a\r\nb\xff\nc"), ("long", b"x" * 3_000_000 + b"y"), ("silent", b"")],
)
def test_both_streams_are_copied_in_their_order(engine: Path, name: str, log: bytes) -> None:
    file = io.BytesIO()
    assert copy_log(engine, name, file)
    assert file.getvalue() == log


@pytest.mark.parametrize("name", ["gone", "cut", "no-head", "terminal"])
def test_of_a_log_that_is_not_whole_nothing_is_kept(engine: Path, name: str) -> None:
    file = io.BytesIO()
    assert not copy_log(engine, name, file)
    assert file.getvalue() == b""


def test_an_engine_that_is_gone_has_none(tmp_path: Path) -> None:
    assert not copy_log(tmp_path / "nobody", "both", io.BytesIO())


def test_the_socket_is_where_the_client_looks(
    engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{engine}")
    assert find_socket() == engine
    for elsewhere in ("tcp://10.0.0.1:2375", "ssh://me@there", f"unix://{tmp_path}"):
        monkeypatch.setenv("DOCKER_HOST", elsewhere)
        assert find_socket() is None
    monkeypatch.delenv("DOCKER_HOST")
    (tmp_path / "config.json").write_text(json.dumps({"currentContext": "remote"}))
    assert find_socket() is None
    monkeypatch.setenv("DOCKER_HOST", f"unix://{engine}")
    monkeypatch.setenv("DOCKER_CONTEXT", "remote")
    assert find_socket() is None
