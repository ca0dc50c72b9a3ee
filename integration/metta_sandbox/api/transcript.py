"""The transcript: every request and its answer, one JSON line each, without tokens."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from metta_sandbox.api.exchange import ApiAnswer, ReceivedCall, strict_json
from metta_sandbox.errors import MachineError

#: Characters of a request or an answer that a line keeps.
LONGEST_BODY = 64 * 1024
HIDDEN = "[token]"


def redact(value: Any, secrets: Iterable[str]) -> Any:
    """Replace secrets wherever they stand in a JSON value, names of fields included."""
    if isinstance(value, dict):
        return {redact(name, secrets): redact(item, secrets) for name, item in value.items()}
    if isinstance(value, list):
        return [redact(item, secrets) for item in value]
    if value is None or isinstance(value, bool):
        return value
    text = hidden = str(value)
    for secret in secrets:
        hidden = hidden.replace(secret, HIDDEN)
    return value if hidden == text else hidden


def readable(body: bytes) -> Any:
    """Read a body for the transcript: JSON as it is, else text; None when it is empty."""
    if not body:
        return None
    try:
        return strict_json(body)
    except ValueError:
        return body.decode(errors="replace")


def cut(value: Any) -> Any:
    """Shorten a long body to a text that ends in how long it was."""
    text = value if isinstance(value, str) else json.dumps(value)
    if len(text) <= LONGEST_BODY:
        return value
    return f"{text[:LONGEST_BODY]} [cut, {len(text)} characters in all]"


def record_of(
    call: ReceivedCall, answer: ApiAnswer | None, *, authenticated: bool, secrets: Iterable[str]
) -> dict[str, Any]:
    """Build the record of an exchange, without its number and times.

    Args:
        call: The request.
        answer: What it got; None if the caller left before it had sent everything.
        authenticated: Whether its token is known.
        secrets: What must not appear.

    """
    # Longest first, so that a token that holds another one is hidden whole.
    hidden = sorted((secret for secret in secrets if secret), key=len, reverse=True)
    client = call.scope.get("client")
    fields = {
        "path": call.scope["path"],
        "query": parse_qs(call.scope["query_string"].decode("latin-1"), keep_blank_values=True),
        "request": readable(call.body),
        "response": readable(answer.body) if answer else None,
    }
    shown = {name: cut(redact(value, hidden)) for name, value in fields.items()}
    return {
        "port": call.port,
        "service": call.service,
        "method": call.method,
        "route": call.route,
        "path": shown["path"],
        "query": shown["query"],
        "call": call.number,
        "request": shown["request"],
        "status": answer.status if answer else None,
        "response": shown["response"],
        "client": f"{client[0]}:{client[1]}" if client else None,
        "authenticated": authenticated,
    }


class Transcript:
    """The file of exchanges. Numbers and counts go on where an earlier process left them.

    Args:
        path: The file of JSON lines; made when missing.

    Raises:
        MachineError: It can't be written.

    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seq = 0
        self._torn = False
        self._calls: Counter[tuple[str, str | None]] = Counter()
        try:
            self._resume()
            # Unbuffered: a line is one write, out at once, and never half in a buffer.
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise MachineError(
                f"cannot write the transcript {path}: {error.strerror}",
                "choose a --data folder that can be written to",
            ) from error

    def _resume(self) -> None:
        if not self._path.is_file():
            return
        line = b"\n"
        with self._path.open("rb") as lines:
            for line in lines:
                try:
                    record = json.loads(line)
                except ValueError:  # the process that wrote it was killed in the middle
                    continue
                self._seq = record["seq"]
                self.count(record["method"], record["route"])
        self._torn = not line.endswith(b"\n")

    def count(self, method: str, route: str | None) -> int:
        """Count a call of a method and route; the first is 1."""
        self._calls[method, route] += 1
        return self._calls[method, route]

    def write(self, record: dict[str, Any], *, wall: float, mono: float) -> None:
        """Append a record. That the disk is full is said, and stops nobody's sweep.

        Args:
            record: What ``record_of`` built.
            wall: When the call came in, in seconds since the epoch.
            mono: The same on the monotonic clock.

        """
        self._seq += 1
        seconds = time.monotonic() - mono
        fields = {"seq": self._seq, "wall": wall, "mono": mono, **record, "seconds": seconds}
        line = (b"\n" if self._torn else b"") + json.dumps(fields).encode() + b"\n"
        try:
            self._torn = self._file.write(line) < len(line)
        except OSError as error:
            sys.stderr.write(f"api: cannot record to {self._path}: {error.strerror}\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
