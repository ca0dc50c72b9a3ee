"""Logs of containers, asked for at the engine's own socket.

The engine's client takes 40 ms of a processor to start, which is most of what a short log costs:
with 64 nodes, five seconds. See https://docs.docker.com/reference/api/engine/ for what is asked,
and for the frames in which a container's two streams come ("Attach to a container").
"""

from __future__ import annotations

import json
import os
import socket
import struct
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

#: Where an engine listens if nobody says otherwise.
_USUAL = "unix:///var/run/docker.sock"
#: A frame's stream (1: standard output, 2: standard error), three bytes of nothing, its length.
_HEAD = struct.Struct(">BxxxL")
_CHUNK = 1 << 20
_PATIENCE = 60.0


def find_socket() -> Path | None:
    """Find the socket of the engine that the client speaks to; None if that is not told easily.

    Contexts and engines on other machines are the client's business.
    """
    if os.environ.get("DOCKER_CONTEXT"):
        return None
    named = os.environ.get("DOCKER_HOST") or _usual()
    path = Path(named.removeprefix("unix://"))
    return path if named.startswith("unix://") and path.is_socket() else None


def _usual() -> str:
    folder = os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker"
    try:
        said = json.loads((Path(folder) / "config.json").read_text())
        other = said.get("currentContext", "default") != "default"
    except (OSError, ValueError, AttributeError):
        other = False
    return "" if other else _USUAL


class _Connection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket in place of a port."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def copy_log(path: Path, name: str, file: BinaryIO) -> bool:
    """Copy the whole log of a container that has no terminal, both streams in their order.

    Args:
        path: The engine's socket.
        name: The container's.
        file: Where its bytes go, from its beginning.

    Returns:
        Whether it is whole. If not, nothing of it is in the file.

    """
    connection = _Connection(path)
    try:
        connection.request("GET", f"/containers/{quote(name)}/logs?stdout=1&stderr=1")
        answer = connection.getresponse()
        if answer.status == 200 and _copy_frames(answer, file):  # noqa: PLR2004 - HTTP's word
            return True
    except (OSError, HTTPException):
        pass
    finally:
        connection.close()
    file.seek(0)
    file.truncate()
    return False


def _copy_frames(answer: HTTPResponse, file: BinaryIO) -> bool:
    """Copy what frames hold; tells whether the last one is whole."""
    while head := answer.read(_HEAD.size):
        if len(head) < _HEAD.size:
            return False
        stream, length = _HEAD.unpack(head)
        if stream > 2:  # noqa: PLR2004 - not in frames, so that there is a terminal
            return False
        while length:
            data = answer.read(min(length, _CHUNK))
            if not data:
                return False
            file.write(data)
            length -= len(data)
    return True
