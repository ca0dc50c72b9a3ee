"""Jobs and evaluation tasks, which workers take and finish.

Annotations are evaluated here, since FastAPI reads those of functions made inside functions.
"""

from typing import Annotated, Any, Literal

from fastapi import FastAPI, HTTPException, Query, Request

from metta_sandbox.api.common import (
    MAY_BE_MISSING,
    Kept,
    Limit,
    Offset,
    Refusals,
    as_json,
    found,
    now,
    who,
)
from metta_sandbox.api.store import Store
from metta_sandbox.observatory_tokens import Tokens

_JOBS = "jobs"
JobStatus = Literal["pending", "dispatched", "running", "completed", "failed"]
#: What a job may become.
_NEXT = {"dispatched": ("running", "failed"), "running": ("completed", "failed")}
_MAY_CLASH: Refusals = {**MAY_BE_MISSING, 409: {"description": "It can't become that."}}


class JobIn(Kept):
    """A job that is asked for."""

    job_type: Literal["episode"]
    job: dict[str, Any]


class JobChangeIn(Kept):
    """What has become of a job."""

    status: JobStatus | None = None
    worker: str | None = None
    result: dict[str, Any] | None = None
    error: str | None = None


def add_jobs(app: FastAPI, store: Store, tokens: Tokens) -> None:
    """Give an application the routes of jobs."""

    @app.post("/jobs/batch")
    async def add(body: list[JobIn], request: Request) -> list[str]:
        """List the new jobs' ids. Each is `dispatched` at once, to nobody."""
        about = {"status": "dispatched", "user_id": who(request, tokens), "worker": None}
        empty = dict.fromkeys(("result", "error", "running_at", "completed_at"))
        time = now()
        times = {"created_at": time, "dispatched_at": time}
        return [store.add(_JOBS, {**as_json(one), **about, **empty, **times}) for one in body]

    @app.get("/jobs")
    async def jobs(
        job_type: str | None = None,
        statuses: Annotated[list[JobStatus] | None, Query()] = None,
        job_id: str | None = None,
        limit: Limit = 100,
        offset: Offset = 0,
    ) -> list[dict[str, Any]]:
        """List the jobs that suit all that is asked for, newest first."""
        some = [
            one
            for one in reversed(store.records(_JOBS))
            if job_type in (None, one["job_type"])
            and (statuses is None or one["status"] in statuses)
            and job_id in (None, one["id"])
        ]
        return some[offset : offset + limit]

    @app.get("/jobs/{job_id}", responses=MAY_BE_MISSING)
    async def job(job_id: str) -> dict[str, Any]:
        """Give a job."""
        return found(store.record(_JOBS, job_id), _JOBS, job_id)

    @app.post("/jobs/{job_id}", responses=_MAY_CLASH)
    async def change(job_id: str, body: JobChangeIn) -> dict[str, Any]:
        """Give a job as it is now. One runs before it is `completed`; a 409 where it did not."""
        one = found(store.record(_JOBS, job_id), _JOBS, job_id)
        status = body.status
        if status is not None and status not in _NEXT.get(one["status"], ()):
            raise HTTPException(409, f"a job that is {one['status']} can't become {status}")
        new = {key: value for key, value in as_json(body).items() if value is not None}
        if status == "running":
            new["running_at"] = now()
        if body.result is not None:
            new["completed_at"] = now()
        return found(store.change(_JOBS, job_id, lambda old: {**old, **new}), _JOBS, job_id)
