"""One call and its answer, both held whole, so that either can be recorded or replaced."""

from __future__ import annotations

import json
import math
import sys
import traceback
from dataclasses import dataclass, field
from typing import Any, NoReturn

from starlette.datastructures import Headers
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass(frozen=True)
class ReceivedCall:
    """A request that has come in whole.

    Args:
        scope: Its ASGI scope.
        body: Its bytes.
        port: The port it came in on.
        service: ``observatory`` or ``cogweb``, by the port.
        route: The template of its route, or None when there is no such route.
        number: The how-manieth call of this method and route it is, from 1.

    """

    scope: Scope
    body: bytes
    port: int
    service: str
    route: str | None
    number: int

    @property
    def method(self) -> str:
        """The HTTP method."""
        return str(self.scope["method"])

    @property
    def headers(self) -> Headers:
        """The headers, by name whatever the case."""
        return Headers(scope=self.scope)


@dataclass(frozen=True)
class ApiAnswer:
    """The answer to a call.

    Args:
        status: The HTTP status.
        body: The body's bytes.
        headers: Raw header lines.

    """

    status: int
    body: bytes
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)

    @classmethod
    def of_json(cls, status: int, body: bytes) -> ApiAnswer:
        """Make an answer that is said to be JSON, whether it is or not."""
        length = (b"content-length", str(len(body)).encode())
        return cls(status, body, [(b"content-type", b"application/json"), length])

    async def send(self, send: Send) -> None:
        """Send the answer to the caller."""
        start = {"type": "http.response.start", "status": self.status, "headers": self.headers}
        await send(start)
        await send({"type": "http.response.body", "body": self.body})


def route_of(scope: Scope) -> str | None:
    """Find the template of the route that a request is for; of its own method, if one has that."""
    routes = [route for route in scope["app"].router.routes if isinstance(route, Route)]
    matches = [(route.matches(scope)[0], route.path) for route in routes]
    for wanted in (Match.FULL, Match.PARTIAL):
        for match, path in matches:
            if match is wanted:
                return path
    return None


def strict_json(body: bytes) -> Any:
    """Read JSON of which the same can be written, as Python lets NaN and half a surrogate pass.

    Raises:
        ValueError: It is none, or nested too deeply.

    """
    try:
        value = json.loads(body, parse_constant=_refuse_constant, parse_float=_finite)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair is no text") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:40]} is too large")
    return number


async def read_body(receive: Receive) -> bytes | None:
    """Read a request's body to its end; None if the caller leaves before that."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def answer_of(app: ASGIApp, call: ReceivedCall) -> ApiAnswer:
    """Let the application answer a call. What breaks inside it is a 500 in JSON."""
    sent: list[Message] = []
    requests = [{"type": "http.request", "body": call.body, "more_body": False}]

    async def receive() -> Message:
        return requests.pop() if requests else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    try:
        await app(dict(call.scope), receive, send)
    except Exception as error:  # noqa: BLE001 - a server answers whatever happened
        traceback.print_exc(file=sys.stderr)
        detail = json.dumps({"detail": f"internal error: {type(error).__name__}: {error}"})
        return ApiAnswer.of_json(500, detail.encode())
    body = b"".join(message.get("body", b"") for message in sent)
    return ApiAnswer(sent[0]["status"], body, list(sent[0]["headers"]))
