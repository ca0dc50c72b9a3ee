"""Around the application: the token check, and the record of every exchange."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from metta_sandbox.api.announcer import Announcer
from metta_sandbox.api.common import TOKEN_HEADER
from metta_sandbox.api.episodes import UPLOADS
from metta_sandbox.api.exchange import ApiAnswer, ReceivedCall, answer_of, read_body, route_of
from metta_sandbox.api.fault_rules import ApiFaultRule
from metta_sandbox.api.faults import FaultRules, halve
from metta_sandbox.api.script import Script, hang_up
from metta_sandbox.api.transcript import Transcript, record_of
from metta_sandbox.node.agent.events import ApiRequest
from metta_sandbox.observatory_tokens import Tokens

#: Liveness asks for no token, and announces nothing: a held event must not look like a dead server.
HEALTH = "/health"


def _is_open(path: str) -> bool:
    """Tell whether a path asks for no token: an address to put a file at is one itself."""
    return path == HEALTH or path.startswith(UPLOADS)


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
        if scope["type"] == "http" and not _is_open(scope["path"]) and self._tokens.by_url:
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
        faults: Faults of the moment, which come before those.

    """

    def __init__(
        self,
        app: ASGIApp,
        transcript: Transcript,
        tokens: Tokens,
        announcer: Announcer,
        cogweb_port: int,
        script: Script,
        faults: FaultRules,
    ) -> None:
        self._app = app
        self._transcript = transcript
        self._tokens = tokens
        self._announcer = announcer
        self._cogweb_port = cogweb_port
        self._script = script
        self._faults = faults
        self._named: dict[str, ApiAnswer] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take in one request, answer and record it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wall, mono = time.time(), time.monotonic()
        body = await read_body(receive)
        port = int(scope["server"][1])
        route = route_of(scope)
        call = ReceivedCall(
            scope=scope,
            body=body or b"",
            port=port,
            service="cogweb" if port == self._cogweb_port else "observatory",
            route=route,
            number=self._transcript.count(scope["method"], route),
        )
        fault = self._faults.rule(call)
        cue = self._script.cue(call) if fault is None else None
        answer = None
        if body is not None:
            answer = await (self.answer(call) if fault is None else self.faulty(call, fault))
        marks: dict[str, Any] = {}
        if fault is not None:
            marks = {"scripted": True, "fault": fault.fault}
        elif cue is not None:
            marks = {"scripted": True, "rule": cue.number}
        if dropped := (cue is not None and cue.rule.drop) or (fault is not None and fault.drop):
            marks["dropped"] = True
        await self._record(call, answer, marks, wall, mono)
        if dropped:
            await hang_up(scope, receive)
        elif answer is not None:
            await answer.send(send)

    async def answer(self, call: ReceivedCall) -> ApiAnswer:
        """Return the answer to a call that no fault strikes.

        One that is prescribed a status or a body never reaches the application.
        """
        cue = self._script.cue(call)
        if cue is not None and cue.rule.delay is not None:
            await asyncio.sleep(cue.rule.delay)
        scripted = None if cue is None else cue.answer
        answer = scripted or await answer_of(self._app, call)
        if (call.route or "").endswith("/runs/next") and answer.status == HTTPStatus.OK:
            self._named[call.scope["path"]] = answer
        return answer

    async def faulty(self, call: ReceivedCall, fault: ApiFaultRule) -> ApiAnswer:
        """Return the answer to a call that a fault strikes."""
        if fault.delay is not None:
            await asyncio.sleep(fault.delay)
        if fault.status is not None:
            detail = json.dumps({"detail": fault.detail})
            return ApiAnswer.of_json(fault.status, detail.encode())
        path = call.scope["path"]
        if fault.run_name == "duplicate" and path in self._named:
            return self._named[path]
        if fault.run_name == "skipped":
            # Under no key of the caller's, so that the next one is another.
            headers = [each for each in call.scope["headers"] if each[0] != b"idempotency-key"]
            await answer_of(self._app, replace(call, scope={**call.scope, "headers": headers}))
        answer = await self.answer(call)
        return halve(answer) if fault.broken_json else answer

    async def _record(
        self,
        call: ReceivedCall,
        answer: ApiAnswer | None,
        marks: dict[str, Any],
        wall: float,
        mono: float,
    ) -> None:
        token = call.headers.get(TOKEN_HEADER)
        secrets = {*self._tokens.by_url.values(), token or ""}
        known = self._tokens.user(token) is not None
        record = record_of(call, answer, authenticated=known, secrets=secrets)
        if "dropped" in marks:
            # The answer is kept, as what the caller never got.
            record["status"] = None
        self._transcript.write({**record, **marks}, wall=wall, mono=mono)
        if call.scope["path"] != HEALTH:
            told = ApiRequest(
                service=record["service"],
                method=record["method"],
                route=record["route"],
                path=record["path"],
                call=record["call"],
                status=record["status"],
                seconds=time.monotonic() - mono,
                **marks,
            )
            await self._announcer.tell(told)
