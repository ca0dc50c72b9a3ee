"""The application: GraphQL, streams of runs, files, and one page."""

from __future__ import annotations

import sys
import traceback
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from graphql import (
    GraphQLError,
    OperationDefinitionNode,
    OperationType,
    execute,
    parse,
    validate,
)
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp

from metta_sandbox.api.exchange import strict_json
from metta_sandbox.api.script import HangUps
from metta_sandbox.errors import MachineError
from metta_sandbox.services.wandb import streams
from metta_sandbox.services.wandb.blobs import LARGEST, Blobs, Links
from metta_sandbox.services.wandb.context import crash_silent_runs
from metta_sandbox.services.wandb.database import FILES, STATE, Database
from metta_sandbox.services.wandb.ids import MissingError
from metta_sandbox.services.wandb.mutations import Mutation
from metta_sandbox.services.wandb.page import render
from metta_sandbox.services.wandb.projects import Query, find_project
from metta_sandbox.services.wandb.runs import find_run
from metta_sandbox.services.wandb.schema import load_schema, resolve_field, resolve_type
from metta_sandbox.services.wandb.script import LARGEST as LARGEST_REQUEST
from metta_sandbox.services.wandb.script import Door, Scripted, TellScripted, tell_nobody
from metta_sandbox.services.wandb.service import Service, refusal
from metta_sandbox.services.wandb.storage import add_files
from metta_sandbox.services.wandb.writing import note_unknown

#: Seconds without a sign of life after which a run counts as crashed; W&B's client gives one in 30.
SILENCE = 300.0
#: Seconds that the answer to one question may take; W&B's client waits for 20.
PATIENCE = 20.0
_REALM = {"WWW-Authenticate": 'Basic realm="W&B, standing in: user api, and the key"'}


def create_app(
    data: Path,
    *,
    key: str | None = None,
    script: Sequence[Scripted] = (),
    tell: TellScripted = tell_nobody,
    entity_of: Callable[[str], str | None] = lambda _: "sandbox",
    silence: float = SILENCE,
    largest: int = LARGEST,
    patience: float = PATIENCE,
) -> ASGIApp:
    """Build the server. Its lifespan ends with the store closed.

    Args:
        data: The folder of its store; made when missing. ``records.Records`` reads it.
        key: The only key that is let in; None for any that looks like one of W&B's.
        script: What is done with certain calls, for tests.
        tell: Hears of each call that the script is followed for.
        entity_of: Says whose a key is; None refuses it. By default, everybody is ``sandbox``.
        silence: Seconds without a sign of life after which a run counts as crashed.
        largest: Bytes that a file may have.
        patience: Seconds that the answer to one question may take.

    Raises:
        MachineError: The data folder can't be used.

    """
    try:
        data.mkdir(parents=True, exist_ok=True)
        blobs = Blobs(data / FILES, largest)
    except OSError as error:
        raise MachineError(
            f"cannot use the folder {data}: {error.strerror}", "choose another --data"
        ) from error
    db = Database(data / STATE)
    service = Service(db, blobs, Links(db), load_schema(), key, entity_of, silence, patience)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        db.close()

    app = FastAPI(title="W&B, standing in", lifespan=lifespan, docs_url=None, redoc_url=None)
    _add_api(app, service)
    add_files(app, service)
    return HangUps(Door(app, script, tell))


def _add_api(app: FastAPI, service: Service) -> None:
    """Add what the client asks and tells."""

    @app.get("/", response_class=HTMLResponse)
    def page(request: Request) -> Response:
        if service.key is not None and service.caller(request) is None:
            return Response("401", HTTPStatus.UNAUTHORIZED, headers=_REALM)
        return render(service.db)

    @app.get("/healthz")
    @app.get("/ready")
    def health() -> Response:
        return JSONResponse({"status": "ok"})

    @app.post("/graphql")
    async def graphql(request: Request) -> Response:
        entity = service.caller(request)
        if entity is None:
            return refusal(HTTPStatus.UNAUTHORIZED, "the API key is not known here")
        body = await request.body()
        return await run_in_threadpool(_answer, service, request, entity, body)

    @app.post("/files/{entity}/{project}/{run}/file_stream")
    async def file_stream(request: Request, entity: str, project: str, run: str) -> Response:
        if service.caller(request) is None:
            return refusal(HTTPStatus.UNAUTHORIZED, "the API key is not known here")
        body = await request.body()
        path = (entity, project, run)
        return await run_in_threadpool(_take_stream, service, request, body, path)

    @app.api_route("/sdk/otel/{rest:path}", methods=["GET", "POST", "PUT"])
    @app.post("/api/ces/{rest:path}")
    def telemetry(rest: str) -> Response:
        del rest
        return JSONResponse({})


def _answer(service: Service, request: Request, entity: str, body: bytes) -> Response:
    """Answer a GraphQL request."""
    context = service.context(request, entity)
    agent = request.headers.get("user-agent", "")
    try:
        asked = strict_json(body)
        document = parse(asked["query"], max_tokens=20_000)
        variables = _without_nothing(asked.get("variables") or {})
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return refusal(HTTPStatus.BAD_REQUEST, f"no GraphQL request: {type(error).__name__}")
    except GraphQLError as error:
        return refusal(HTTPStatus.BAD_REQUEST, error.message)
    if problems := validate(service.schema, document, max_errors=20):
        for problem in problems:
            note_unknown(service.db, context.operation, problem.message, agent)
        return refusal(HTTPStatus.BAD_REQUEST, *(problem.message for problem in problems))
    crash_silent_runs(service.db, service.silence)
    operations = [one for one in document.definitions if isinstance(one, OperationDefinitionNode)]
    changes = any(one.operation is not OperationType.QUERY for one in operations)
    result = execute(
        service.schema,
        document,
        Mutation(context) if changes else Query(context),
        context,
        variables,
        asked.get("operationName") or None,
        field_resolver=resolve_field,
        type_resolver=resolve_type,
    )
    assert not hasattr(result, "__await__")
    answer: dict[str, Any] = {"data": streams.sendable(result.data)}
    status = HTTPStatus.OK
    if result.errors:
        for problem in result.errors:
            if not problem.path:  # the variables are not what the schema takes
                note_unknown(service.db, context.operation, problem.message, agent)
        answer["errors"] = [{"message": problem.message} for problem in result.errors]
        status = _status_of(result.errors)
    return JSONResponse(answer, status_code=status)


def _without_nothing(value: Any) -> Any:
    """Leave out what is null: newer clients name fields for it that the schema does not have."""
    if isinstance(value, dict):
        return {key: _without_nothing(each) for key, each in value.items() if each is not None}
    return [_without_nothing(each) for each in value] if isinstance(value, list) else value


def _status_of(errors: Sequence[GraphQLError]) -> HTTPStatus:
    """Choose a status that no client tries again."""
    for error in errors:
        cause = error.original_error
        if isinstance(cause, MissingError):
            return HTTPStatus.NOT_FOUND
        if cause is not None and not isinstance(cause, GraphQLError):
            traceback.print_exception(cause, file=sys.stderr)
    return HTTPStatus.OK if all(error.path for error in errors) else HTTPStatus.BAD_REQUEST


def _take_stream(
    service: Service, request: Request, body: bytes, path: tuple[str, str, str]
) -> Response:
    """Take in what a run streams."""
    entity, project_name, name = path
    project = find_project(service.db, entity, project_name)
    run = project and find_run(service.db, project["id"], name)
    if not run:
        return refusal(HTTPStatus.NOT_FOUND, f"no run {entity}/{project_name}/{name}")
    try:
        if request.headers.get("content-encoding") == "gzip":
            body = _unzipped(body)
        streams.append(service.db, run, strict_json(body), service.writer(request))
    except (ValueError, OverflowError, RecursionError, zlib.error) as error:
        return refusal(HTTPStatus.BAD_REQUEST, f"no stream of a run: {error}")
    return JSONResponse({"exitcode": None, "limits": {}, "stopped": bool(run["stopped"])})


def _unzipped(body: bytes) -> bytes:
    unzip = zlib.decompressobj(wbits=31)
    found = unzip.decompress(body, LARGEST_REQUEST)
    if unzip.unconsumed_tail:
        raise ValueError("too large")
    return found
