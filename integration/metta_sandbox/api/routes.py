"""The routes of the control plane, as far as a sweep needs them.

Annotations are evaluated here, since FastAPI reads those of functions made inside functions.
"""

import json
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import FastAPI, Header, HTTPException, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field

from metta_sandbox.api.exchange import strict_json
from metta_sandbox.api.middleware import HEALTH, TOKEN_HEADER
from metta_sandbox.api.store import Store
from metta_sandbox.observatory_tokens import Tokens

IdempotencyKey = Annotated[str | None, Header()]
Named = Annotated[str, Field(min_length=1)]
_MAY_BE_MISSING: dict[int | str, dict[str, Any]] = {404: {"description": "There is none."}}


class SweepIn(BaseModel):
    """What registers a sweep."""

    model_config = ConfigDict(frozen=True)

    project: str
    entity: str
    wandb_sweep_id: str


class _Stats(BaseModel):
    """Something kept as it was sent: further fields are welcome."""

    model_config = ConfigDict(frozen=True, extra="allow")


class TrainingRunIn(_Stats):
    """The start of a training run."""

    name: Named


class EpochIn(_Stats):
    """A stretch of training between two evaluations."""

    start_training_epoch: Annotated[int, Field(ge=0)]
    end_training_epoch: Annotated[int, Field(ge=0)]


class PolicyIn(_Stats):
    """A checkpoint that was evaluated."""

    name: Named


class EpisodeIn(_Stats):
    """One evaluated episode: each agent's metrics, by the agent's number."""

    primary_policy_id: Named
    agent_metrics: dict[str, dict[str, float]]


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


def add_routes(app: FastAPI, store: Store, tokens: Tokens) -> None:
    """Give an application every route of the contract."""
    app.router.route_class = _StrictRoute
    _add_identity(app, tokens)
    _add_sweeps(app, store)
    _add_stats(app, store, "training-runs", TrainingRunIn)
    _add_epochs(app, store)
    _add_stats(app, store, "policies", PolicyIn)
    _add_stats(app, store, "episodes", EpisodeIn)


def _add_identity(app: FastAPI, tokens: Tokens) -> None:
    @app.get(HEALTH)
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/whoami")
    async def whoami(request: Request) -> dict[str, Any]:
        user = tokens.user(request.headers.get(TOKEN_HEADER))
        return {"user_email": user or "anonymous", "authenticated": user is not None}


def _add_sweeps(app: FastAPI, store: Store) -> None:
    @app.get("/sweeps/{name}")
    async def sweep(name: str) -> dict[str, Any]:
        found = store.wandb_sweep_id(name)
        return {"exists": found is not None, "wandb_sweep_id": found or ""}

    @app.post("/sweeps/{name}/create_sweep")
    async def create_sweep(name: str, sweep: SweepIn) -> dict[str, Any]:
        created, sweep_id = store.create_sweep(name, **sweep.model_dump())
        return {"created": created, "sweep_id": sweep_id}

    @app.post("/sweeps/{name}/runs/next", responses=_MAY_BE_MISSING)
    async def next_run(name: str, idempotency_key: IdempotencyKey = None) -> dict[str, str]:
        run = store.next_run(name, idempotency_key)
        if run is None:
            raise HTTPException(404, f"no sweep {name!r}: register it with create_sweep first")
        return {"run_id": run}


def _add_stats(app: FastAPI, store: Store, kind: str, model: type[_Stats]) -> None:
    @app.post(f"/stats/{kind}")
    async def add(
        body: model,  # type: ignore[valid-type]
        idempotency_key: IdempotencyKey = None,
    ) -> dict[str, str]:
        return {"id": store.add(kind, _json(body), key=idempotency_key)}

    @app.get(f"/stats/{kind}")
    async def listing() -> list[dict[str, Any]]:
        return store.records(kind)

    @app.get(f"/stats/{kind}/{{record_id}}", responses=_MAY_BE_MISSING)
    async def one(record_id: str) -> dict[str, Any]:
        return _found(store.record(kind, record_id), kind, record_id)


def _add_epochs(app: FastAPI, store: Store) -> None:
    @app.post("/stats/training-runs/{run_id}/epochs", responses=_MAY_BE_MISSING)
    async def add(
        run_id: str, body: EpochIn, idempotency_key: IdempotencyKey = None
    ) -> dict[str, str]:
        _found(store.record("training-runs", run_id), "training-runs", run_id)
        return {"id": store.add("epochs", _json(body), run_id, idempotency_key)}

    @app.get("/stats/training-runs/{run_id}/epochs", responses=_MAY_BE_MISSING)
    async def listing(run_id: str) -> list[dict[str, Any]]:
        _found(store.record("training-runs", run_id), "training-runs", run_id)
        return store.records("epochs", run_id)

    @app.get("/stats/training-runs/{run_id}/epochs/{epoch_id}", responses=_MAY_BE_MISSING)
    async def one(run_id: str, epoch_id: str) -> dict[str, Any]:
        return _found(store.record("epochs", epoch_id, run_id), "epochs", epoch_id)


def _json(body: BaseModel) -> dict[str, Any]:
    return body.model_dump(mode="json")


def _found(record: dict[str, Any] | None, kind: str, record_id: str) -> dict[str, Any]:
    if record is None:
        raise HTTPException(404, f"nothing under {kind} has the id {record_id!r}")
    return record
