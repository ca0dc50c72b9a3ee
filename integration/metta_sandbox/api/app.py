"""The application: one state, one transcript, every route."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse

from metta_sandbox.api.announcer import Announcer
from metta_sandbox.api.faults import FaultRules
from metta_sandbox.api.middleware import Guard, Recorder
from metta_sandbox.api.routes import add_routes
from metta_sandbox.api.script import Script
from metta_sandbox.api.store import Store
from metta_sandbox.api.transcript import Transcript
from metta_sandbox.errors import MachineError
from metta_sandbox.node.agent.emitter import Emitter
from metta_sandbox.observatory_tokens import Tokens


def create_app(
    data: Path,
    announcer: Announcer | None = None,
    *,
    cogweb_port: int = 8081,
    tokens: Tokens | None = None,
) -> FastAPI:
    """Build the control plane. Its lifespan ends with state and transcript closed.

    Args:
        data: The folder of its state file and its transcript, and of the answers it is told to
            give; made when missing.
        announcer: Where its events go; by default where this process's environment says.
        cogweb_port: The port whose calls are Cogweb's; those of any other are Observatory's.
        tokens: Who may call. With none, everybody may.

    Raises:
        MachineError: The data folder can't be used.

    """
    announcer = announcer or Announcer(Emitter.from_environment())
    tokens = tokens or Tokens()
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(
            f"cannot make the folder {data}: {error.strerror}", "choose another --data"
        ) from error
    script = Script.read(data)
    store = Store(data / "state.sqlite3")
    transcript = Transcript(data / "requests.jsonl")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        store.close()
        transcript.close()
        announcer.close()

    app = FastAPI(
        title="Observatory and Cogweb, standing in",
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,  # its page would be fetched from the network
        redoc_url=None,
    )
    app.add_exception_handler(RequestValidationError, _refuse)
    add_routes(app, store, tokens, data)
    app.add_middleware(Guard, tokens=tokens)
    # Added last, so outermost: what the guard refuses is recorded too.
    app.add_middleware(
        Recorder,
        transcript=transcript,
        tokens=tokens,
        announcer=announcer,
        cogweb_port=cogweb_port,
        script=script,
        faults=FaultRules(data),
    )
    return app


async def _refuse(_: Request, error: Exception) -> JSONResponse:
    """Answer 422 to what is no request, as FastAPI does, also to one that is no text."""
    assert isinstance(error, RequestValidationError)
    as_text = {bytes: lambda body: body.decode(errors="replace")}
    detail = jsonable_encoder(error.errors(), custom_encoder=as_text)
    return JSONResponse({"detail": detail}, status_code=422)
