"""Answers that a scenario prescribes: read once, matched against every call."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from metta_sandbox.api.exchange import ApiAnswer, ReceivedCall
from metta_sandbox.errors import MachineError
from metta_sandbox.scenario.services import ANSWERS, ScriptedAnswer, Services

#: The ASGI extension by which a connection is closed without an answer.
HANG_UP = "metta.hang_up"


@dataclass(frozen=True)
class ScriptCue:
    """A prescribed answer, and its number in the scenario's list, from 1."""

    number: int
    rule: ScriptedAnswer

    @property
    def answer(self) -> ApiAnswer | None:
        """What is answered in the service's place; None if the service is asked."""
        if self.rule.status is None and self.rule.body is None:
            return None
        body = "" if self.rule.body is None else self.rule.body
        content = (body if isinstance(body, str) else json.dumps(body)).encode()
        return ApiAnswer.of_json(self.rule.status or 200, content)


class Script:
    """All prescribed answers of a scenario.

    Args:
        services: What the scenario says.

    """

    def __init__(self, services: Services | None = None) -> None:
        rules = services.api if services else ()
        self._cues = tuple(ScriptCue(number, rule) for number, rule in enumerate(rules, 1))

    @classmethod
    def read(cls, folder: Path) -> Script:
        """Read the script of a data folder; one without is empty.

        Raises:
            MachineError: It can't be read.

        """
        return cls(read_services(folder))

    def cue(self, call: ReceivedCall) -> ScriptCue | None:
        """Find the prescription that takes a call; the first of several."""
        route = f"{call.method} {call.route}"
        return next((cue for cue in self._cues if cue.rule.takes(route, call.number)), None)


def read_services(folder: Path) -> Services:
    """Read what a data folder prescribes; one that says nothing prescribes nothing.

    Raises:
        MachineError: It can't be read.

    """
    path = folder / ANSWERS
    if not path.exists():
        return Services()
    try:
        return Services.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise MachineError(f"cannot read the prescribed answers {path}: {error}") from None


class HangUps:
    """Lets the application close a connection without an answer, which ASGI has no word for.

    Args:
        app: Gets the means as ``scope["extensions"][HANG_UP]``, a function without arguments.

    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http":
            # uvicorn's `send` is a method of the request's cycle, which has the transport.
            transport = getattr(getattr(send, "__self__", None), "transport", None)
            if transport is not None:
                extensions = {**scope.get("extensions", {}), HANG_UP: transport.abort}
                scope = {**scope, "extensions": extensions}
        await self._app(scope, receive, send)


async def hang_up(scope: Scope, receive: Receive) -> None:
    """Close a request's connection, and wait until it is closed.

    Raises:
        RuntimeError: The server is not one that can.

    """
    abort = scope.get("extensions", {}).get(HANG_UP)
    if abort is None:
        raise RuntimeError("this server can't close a connection without an answer")
    abort()
    while (await receive())["type"] != "http.disconnect":
        continue
