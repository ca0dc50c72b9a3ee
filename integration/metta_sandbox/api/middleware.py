"""Around the application: the token check, and the record of every exchange."""

from __future__ import annotations

import asyncio
import time

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from metta_sandbox.api.announcer import Announcer
from metta_sandbox.api.exchange import Answer, Call, answer_of, read_body, route_of
from metta_sandbox.api.script import Cue, Script, hang_up
from metta_sandbox.api.tokens import Tokens
from metta_sandbox.api.transcript import Transcript, record_of

TOKEN_HEADER = "X-Auth-Token"  # noqa: S105 - the header's name
#: Liveness asks for no token, and announces nothing: a held event must not look like a dead server.
HEALTH = "/health"


class Guard:
    """Lets in whoever presents a known token; everybody, when no token is known.

    Args:
        app: What is guarded.
        tokens: The known tokens.

    """

    def __init__(self, app: ASGIApp, tokens: Tokens) -> None:
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, or pass the request on."""
        if scope["type"] == "http" and scope["path"] != HEALTH and self._tokens.by_url:
            token = Headers(scope=scope).get(TOKEN_HEADER)
            if self._tokens.user(token) is None:
                state = "missing" if token is None else "not known"
                refusal = JSONResponse({"detail": f"{TOKEN_HEADER} is {state}"}, status_code=401)
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


class Recorder:
    """Holds each call and its answer whole, and records both before the caller gets anything.

    Args:
        app: Who answers.
        transcript: Where exchanges are kept.
        tokens: What must not be kept.
        announcer: Sends an ``api.request`` event for each exchange.
        cogweb_port: The port that is Cogweb's; any other one is Observatory's.
        script: Answers that the scenario prescribes.

    """

    def __init__(
        self,
        app: ASGIApp,
        transcript: Transcript,
        tokens: Tokens,
        announcer: Announcer,
        cogweb_port: int,
        script: Script,
    ) -> None:
        self._app = app
        self._transcript = transcript
        self._tokens = tokens
        self._announcer = announcer
        self._cogweb_port = cogweb_port
        self._script = script

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take in one request, answer and record it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wall, mono = time.time(), time.monotonic()
        body = await read_body(receive)
        port = int(scope["server"][1])
        route = route_of(scope)
        call = Call(
            scope=scope,
            body=body or b"",
            port=port,
            service="cogweb" if port == self._cogweb_port else "observatory",
            route=route,
            number=self._transcript.count(scope["method"], route),
        )
        cue = self._script.cue(call)
        answer = None if body is None else await self.answer(call)
        await self._record(call, answer, cue, wall, mono)
        if cue is not None and cue.rule.drop:
            await hang_up(scope, receive)
        elif answer is not None:
            await answer.send(send)

    async def answer(self, call: Call) -> Answer:
        """Say what a call gets: the one place every answer comes from.

        One that is prescribed a status or a body never reaches the application.
        """
        cue = self._script.cue(call)
        if cue is not None and cue.rule.delay is not None:
            await asyncio.sleep(cue.rule.delay)
        scripted = None if cue is None else cue.answer
        return scripted or await answer_of(self._app, call)

    async def _record(
        self, call: Call, answer: Answer | None, cue: Cue | None, wall: float, mono: float
    ) -> None:
        token = call.headers.get(TOKEN_HEADER)
        secrets = {*self._tokens.by_url.values(), token or ""}
        known = self._tokens.user(token) is not None
        record = record_of(call, answer, authenticated=known, secrets=secrets)
        marks = {}
        if cue is not None:
            marks = {"scripted": True, "rule": cue.number}
            if cue.rule.drop:
                # The answer is kept, as what the caller never got.
                marks["dropped"] = True
                record["status"] = None
        self._transcript.write({**record, **marks}, wall=wall, mono=mono)
        if call.scope["path"] != HEALTH:
            shown = ("service", "method", "route", "path", "call", "status")
            fields = {name: record[name] for name in shown}
            seconds = time.monotonic() - mono
            await self._announcer.emit("api.request", **fields, **marks, seconds=seconds)
