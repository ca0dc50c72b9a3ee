"""Answers that a test prescribes, and the door that every request comes through."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from metta_sandbox.api.exchange import ApiAnswer
from metta_sandbox.api.faults import halve
from metta_sandbox.api.script import hang_up

#: Bytes that a request may have which is read whole.
LARGEST = 64 << 20
_OPERATION = re.compile(r"\b(?:query|mutation)\s+(\w+)")


@dataclass(frozen=True)
class Scripted:
    """What is done with some calls of an operation.

    Args:
        operation: A GraphQL operation's name (``UpsertBucket``), ``file_stream``, ``storage`` (a
            file is read or written) or ``otel``.
        first: The first call that it is done with, from 1.
        last: The last one; None for all that follow.
        status: Answered in the server's place, which never sees the call.
        retry_after: Seconds, which the answer says in ``Retry-After``.
        delay: Seconds that the call waits before anything is done.
        drop: The server does what was asked, and the connection is closed without an answer.
        broken_json: The server does what was asked, and half of its answer is sent.
        rule: Which answer of a scenario it is of, from 1.

    """

    operation: str
    first: int = 1
    last: int | None = None
    status: int | None = None
    retry_after: float | None = None
    delay: float | None = None
    drop: bool = False
    broken_json: bool = False
    rule: int = 0

    def takes(self, operation: str, number: int) -> bool:
        """Tell whether a call of an operation is one of those meant."""
        within = number >= self.first and (self.last is None or number <= self.last)
        return operation == self.operation and within


#: Hears of a call that is answered as prescribed: its path, its number among those of its
#: operation, and what is prescribed.
TellScripted = Callable[[str, int, Scripted], Awaitable[None]]


async def tell_nobody(_path: str, _number: int, _rule: Scripted) -> None:
    """Tell nobody."""


class Door:
    """Reads requests that are read whole, names them, and does what the script says.

    Args:
        app: Who answers. It finds an operation's name in ``scope["operation"]``.
        script: What is prescribed; the first of several that take a call.
        tell: Hears of each call that is answered as prescribed.

    """

    def __init__(
        self, app: ASGIApp, script: Sequence[Scripted] = (), tell: TellScripted = tell_nobody
    ) -> None:
        self._app = app
        self._tell = tell
        self._script = tuple(script)
        self._calls: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take in one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        operation = _operation_of(scope["path"])
        if scope["method"] == "POST":
            body = await _read(receive)
            if body is None:
                refusal = _errors(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too large a request")
                await refusal(scope, receive, send)
                return
            if operation == "graphql":
                operation = _graphql_operation(body)
            receive = _again(body, receive)
        self._calls[operation] += 1
        scope = {**scope, "operation": operation}
        number = self._calls[operation]
        rule = next((rule for rule in self._script if rule.takes(operation, number)), None)
        if rule is None:
            await self._app(scope, receive, send)
        else:
            await self._tell(scope["path"], number, rule)
            await self._follow(rule, scope, receive, send)

    async def _follow(self, rule: Scripted, scope: Scope, receive: Receive, send: Send) -> None:
        if rule.delay is not None:
            await asyncio.sleep(rule.delay)
        if rule.status is not None:
            refusal = _errors(rule.status, "injected by a test")
            if rule.retry_after is not None:
                refusal.headers["Retry-After"] = f"{rule.retry_after:g}"
            await refusal(scope, receive, send)
            return
        if not rule.drop and not rule.broken_json:
            await self._app(scope, receive, send)
            return
        sent: list[Message] = []

        async def keep(message: Message) -> None:
            sent.append(message)

        await self._app(scope, receive, keep)
        if rule.drop:
            await hang_up(scope, receive)
            return
        body = b"".join(message.get("body", b"") for message in sent)
        await halve(ApiAnswer(sent[0]["status"], body, list(sent[0]["headers"]))).send(send)


def _operation_of(path: str) -> str:
    if path.endswith("/file_stream"):
        return "file_stream"
    return path.strip("/").partition("/")[0] or "page"


def _graphql_operation(body: bytes) -> str:
    """Name the operation that a GraphQL request is for."""
    try:
        request = json.loads(body)
        found = _OPERATION.search(request["query"])
        return str(request.get("operationName") or (found and found[1]) or "anonymous")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "anonymous"


async def _read(receive: Receive) -> bytes | None:
    """Read a body to its end; None if it is too large. One that is cut off is what came."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"".join(parts)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > LARGEST:
            return None
        if not message.get("more_body"):
            return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """Give a body that was read as if it had not been."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def give() -> Message:
        return waiting.pop() if waiting else await receive()

    return give


def _errors(status: int, message: str) -> JSONResponse:
    return JSONResponse({"errors": [{"message": message}]}, status_code=status)
