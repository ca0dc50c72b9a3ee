"""The routes of the control plane, as far as a sweep needs them.

Annotations are evaluated here, since FastAPI reads those of functions made inside functions.
"""

import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field

from metta_sandbox.api.common import (
    MAY_BE_MISSING,
    TOKEN_HEADER,
    IdempotencyKey,
    Kept,
    Named,
    as_json,
    found,
)
from metta_sandbox.api.episodes import add_episodes
from metta_sandbox.api.exchange import strict_json
from metta_sandbox.api.jobs import add_jobs
from metta_sandbox.api.middleware import HEALTH
from metta_sandbox.api.policies import add_policies
from metta_sandbox.api.sql import add_sql
from metta_sandbox.api.store import Store
from metta_sandbox.api.tasks import add_tasks
from metta_sandbox.observatory_tokens import Tokens


class SweepIn(BaseModel):
    """What registers a sweep."""

    model_config = ConfigDict(frozen=True)

    project: str
    entity: str
    wandb_sweep_id: str


class TrainingRunIn(Kept):
    """The start of a training run."""

    name: Named


class EpochIn(Kept):
    """A stretch of training between two evaluations."""

    start_training_epoch: Annotated[int, Field(ge=0)]
    end_training_epoch: Annotated[int, Field(ge=0)]


class _StrictRequest(Request):
    """Refuses the NaN of a diverged run: it could be stored, but never given back as JSON."""

    async def json(self) -> Any:
        body = await self.body()
        try:
            return strict_json(body)
        except json.JSONDecodeError:
            raise
        except ValueError as error:
            raise json.JSONDecodeError(str(error), body.decode(errors="replace"), 0) from error


class _StrictRoute(APIRoute):
    """A route whose requests are read strictly."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return strict


def add_routes(app: FastAPI, store: Store, tokens: Tokens, data: Path) -> None:
    """Give an application every route of the contract. What its docstring says is documented."""
    app.router.route_class = _StrictRoute
    _add_sweeps(app, store)
    _add_training_runs(app, store)
    _add_epochs(app, store)
    add_policies(app, store, tokens)
    add_episodes(app, store, data)
    add_tasks(app, store, tokens)
    add_jobs(app, store, tokens)
    add_sql(app, store)
    _add_identity(app, tokens)


def _add_identity(app: FastAPI, tokens: Tokens) -> None:
    @app.get(HEALTH)
    async def health() -> dict[str, str]:
        """Give `{"status": "ok"}`, without a token."""
        return {"status": "ok"}

    @app.get("/whoami")
    async def whoami(request: Request) -> dict[str, Any]:
        """Give `{"user_email", "authenticated"}`."""
        user = tokens.user(request.headers.get(TOKEN_HEADER))
        return {"user_email": user or "anonymous", "authenticated": user is not None}


def _add_sweeps(app: FastAPI, store: Store) -> None:
    @app.get("/sweeps/{name}")
    async def sweep(name: str) -> dict[str, Any]:
        """Give `{"exists", "wandb_sweep_id"}`; of an unknown one, false and an empty id."""
        found = store.wandb_sweep_id(name)
        return {"exists": found is not None, "wandb_sweep_id": found or ""}

    @app.post("/sweeps/{name}/create_sweep")
    async def create_sweep(name: str, sweep: SweepIn) -> dict[str, Any]:
        """Give `{"created", "sweep_id"}`; a second call creates nothing and gets the same id."""
        created, sweep_id = store.create_sweep(name, **sweep.model_dump())
        return {"created": created, "sweep_id": sweep_id}

    @app.post("/sweeps/{name}/runs/next", responses=MAY_BE_MISSING)
    async def next_run(name: str, idempotency_key: IdempotencyKey = None) -> dict[str, str]:
        """Give `{"run_id": "<name>.r.<n>"}`, n counted from 1."""
        run = store.next_run(name, idempotency_key)
        if run is None:
            raise HTTPException(404, f"no sweep {name!r}: register it with create_sweep first")
        return {"run_id": run}


def _add_training_runs(app: FastAPI, store: Store) -> None:
    kind = "training-runs"

    @app.post("/stats/training-runs")
    async def add(body: TrainingRunIn, idempotency_key: IdempotencyKey = None) -> dict[str, str]:
        """Give `{"id"}`."""
        return {"id": store.add(kind, as_json(body), key=idempotency_key)}

    @app.get("/stats/training-runs")
    async def listing() -> list[dict[str, Any]]:
        """List what was kept, oldest first."""
        return store.records(kind)

    @app.get("/stats/training-runs/{record_id}", responses=MAY_BE_MISSING)
    async def one(record_id: str) -> dict[str, Any]:
        """Give what was kept of it."""
        return found(store.record(kind, record_id), kind, record_id)


def _add_epochs(app: FastAPI, store: Store) -> None:
    @app.post("/stats/training-runs/{run_id}/epochs", responses=MAY_BE_MISSING)
    async def add(
        run_id: str, body: EpochIn, idempotency_key: IdempotencyKey = None
    ) -> dict[str, str]:
        """Give `{"id"}`. The numbers of epochs are integers from 0."""
        found(store.record("training-runs", run_id), "training-runs", run_id)
        return {"id": store.add("epochs", as_json(body), run_id, idempotency_key)}

    @app.get("/stats/training-runs/{run_id}/epochs", responses=MAY_BE_MISSING)
    async def listing(run_id: str) -> list[dict[str, Any]]:
        """List what was kept of a run, oldest first."""
        found(store.record("training-runs", run_id), "training-runs", run_id)
        return store.records("epochs", run_id)

    @app.get("/stats/training-runs/{run_id}/epochs/{epoch_id}", responses=MAY_BE_MISSING)
    async def one(run_id: str, epoch_id: str) -> dict[str, Any]:
        """Give what was kept of it."""
        return found(store.record("epochs", epoch_id, run_id), "epochs", epoch_id)
