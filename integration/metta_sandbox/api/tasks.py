"""Evaluation tasks, which workers claim, start and finish.

Clients of 2025 say a `policy_id`, count tasks by UUID and update what they have claimed; newer
ones say a `command`, and count tasks from 1.
Annotations are evaluated here, since FastAPI reads those of functions made inside functions.
"""

from functools import partial
from typing import Annotated, Any, Literal

from fastapi import FastAPI, HTTPException, Query, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

from metta_sandbox.api.common import (
    MAY_BE_MISSING,
    Kept,
    Limit,
    Named,
    Values,
    as_json,
    found,
    now,
    who,
)
from metta_sandbox.api.store import Store
from metta_sandbox.observatory_tokens import Tokens

_KIND = "tasks"
Status = Literal["unprocessed", "running", "canceled", "done", "error", "system_error"]
Finished = Literal["done", "error", "canceled", "system_error"]
TaskId = int | str


class TaskIn(Kept):
    """A task: a command, or, from clients of 2025, a policy to be evaluated."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["command"]}, {"required": ["policy_id"]}]}
    )

    command: Named = ""
    policy_id: Named = ""
    git_hash: str | None = None
    attributes: Values = Field(default_factory=dict)

    @model_validator(mode="after")
    def _say_what(self) -> Self:
        if not self.command and not self.policy_id:
            raise ValueError("expected command or policy_id")
        return self


class ClaimIn(Kept):
    """Which tasks somebody takes."""

    tasks: list[TaskId]
    assignee: Named


class WorkersIn(Kept):
    """Whose tasks are meant."""

    assignees: list[str]


class FinishIn(Kept):
    """How a task has ended."""

    status: Finished
    log_path: str | None = None
    status_details: Values = Field(default_factory=dict)


class StatusIn(BaseModel):
    """What has become of a task."""

    status: Status
    clear_assignee: bool = False
    attributes: Values = Field(default_factory=dict)
    status_details: Values = Field(default_factory=dict)


class StatusesIn(Kept):
    """What has become of tasks, by id; of those of one worker alone if it is named."""

    updates: dict[str, StatusIn]
    require_assignee: str | None = None


def add_tasks(app: FastAPI, store: Store, tokens: Tokens) -> None:
    """Give an application the routes of tasks."""
    _add_lists(app, store)
    _add_changes(app, store)
    _add_updates(app, store)

    @app.post("/tasks")
    async def add(body: TaskIn, request: Request) -> dict[str, Any]:
        """Give the task: `command`, or `policy_id` as clients of 2025 send it, is required."""
        said, time = as_json(body), now()
        if body.git_hash is not None:
            said["attributes"] = {**said["attributes"], "git_hash": body.git_hash}
        kept = {
            **dict.fromkeys(("data_uri", "latest_attempt_id", "status_details", *_ATTEMPT)),
            "sim_suite": "all",
            "retries": 0,
            "attempt_number": 0,
            "attempts": [],
            **said,
            "status": "unprocessed",
            "is_finished": False,
            "user_id": who(request, tokens),
            "created_at": time,
            "updated_at": time,
        }
        number = None if not body.command else str(len(store.records(_KIND)) + 1)
        return _shown({**kept, "id": store.add(_KIND, kept, record_id=number)})

    @app.get("/tasks/{task_id}", responses=MAY_BE_MISSING)
    async def task(task_id: str) -> dict[str, Any]:
        """Give a task."""
        return _shown(found(store.record(_KIND, task_id), _KIND, task_id))

    @app.get("/tasks/{task_id}/attempts", responses=MAY_BE_MISSING)
    async def attempts(task_id: str) -> dict[str, Any]:
        """Give `{"attempts"}`: who took it, when, and how that ended."""
        one = found(store.record(_KIND, task_id), _KIND, task_id)
        return {"attempts": [*one["attempts"], *([_attempt(one)] if one["assignee"] else [])]}


def _add_lists(app: FastAPI, store: Store) -> None:
    def tasks() -> list[dict[str, Any]]:
        return [_shown(one) for one in store.records(_KIND)]

    def hashes(assignees: list[str]) -> dict[str, Any]:
        own = {name: [one for one in tasks() if one["assignee"] == name] for name in assignees}
        told = {
            name: sorted({one["git_hash"] for one in each if one["git_hash"]})
            for name, each in own.items()
        }
        return {"git_hashes": told}

    @app.get("/tasks/latest", responses=MAY_BE_MISSING)
    async def latest(assignee: str) -> dict[str, Any]:
        """Give the task that a worker has claimed last."""
        own = [one for one in tasks() if one["assignee"] == assignee]
        if not own:
            raise HTTPException(404, f"{assignee!r} has claimed no task")
        return max(own, key=lambda one: str(one["assigned_at"]))

    @app.get("/tasks/available")
    async def available(limit: Limit = 200) -> dict[str, Any]:
        """Give `{"tasks"}` that nobody has claimed."""
        free = [one for one in tasks() if one["status"] == "unprocessed" and not one["assignee"]]
        return {"tasks": free[:limit]}

    @app.get("/tasks/claimed")
    async def claimed(assignee: str | None = None) -> dict[str, Any]:
        """Give `{"tasks"}` that somebody, or `assignee`, has claimed and not finished."""
        taken = (one for one in tasks() if one["assignee"] and not one["is_finished"])
        return {"tasks": [one for one in taken if assignee in (None, one["assignee"])]}

    @app.get("/tasks/git-hashes")
    async def git_hashes(assignees: Annotated[list[str], Query()]) -> dict[str, Any]:
        """Give `{"git_hashes"}` of the tasks of workers, by worker."""
        return hashes(assignees)

    @app.post("/tasks/git-hashes")
    async def ask_git_hashes(body: WorkersIn) -> dict[str, Any]:
        """Give the same."""
        return hashes(body.assignees)

    @app.get("/tasks/all")
    async def every(
        limit: Limit = 500,
        statuses: Annotated[list[Status] | None, Query()] = None,
        git_hash: str | None = None,
    ) -> dict[str, Any]:
        """Give `{"tasks"}` that suit all that is asked for, newest first."""
        some = [
            one
            for one in reversed(tasks())
            if (statuses is None or one["status"] in statuses)
            and git_hash in (None, one["git_hash"])
        ]
        return {"tasks": some[:limit]}


def _add_changes(app: FastAPI, store: Store) -> None:
    change = partial(_change, store)

    @app.post("/tasks/claim")
    async def claim(body: ClaimIn) -> dict[str, Any]:
        """Give `{"claimed"}`: the ids of those that nobody had claimed before."""
        taken: list[TaskId] = []
        for task_id in body.tasks:
            one = store.record(_KIND, str(task_id))
            if one is not None and not one["assignee"] and not one["is_finished"]:
                number = one["attempt_number"] + 1
                change(
                    str(task_id), assignee=body.assignee, assigned_at=now(), attempt_number=number
                )
                taken.append(task_id)
        return {"claimed": taken}

    @app.post("/tasks/{task_id}/start", responses=MAY_BE_MISSING)
    async def start(task_id: str) -> dict[str, Any]:
        """Give `{"task_id"}`."""
        change(task_id, status="running", started_at=now())
        return {"task_id": _number(task_id)}

    @app.post("/tasks/{task_id}/finish", responses=MAY_BE_MISSING)
    async def finish(task_id: str, body: FinishIn) -> dict[str, Any]:
        """Give `{"task_id"}`. A `system_error` makes it available again."""
        one = change(
            task_id,
            status=body.status,
            finished_at=now(),
            output_log_path=body.log_path,
            status_details=body.status_details,
            is_finished=body.status != "system_error",
        )
        if body.status == "system_error":
            change(task_id, status="unprocessed", **_retried(one))
        return {"task_id": _number(task_id)}


def _add_updates(app: FastAPI, store: Store) -> None:
    @app.post("/tasks/claimed/update")
    async def update(body: StatusesIn) -> dict[str, Any]:
        """Give `{"statuses"}` of those that were changed, by id."""
        done: dict[str, str] = {}
        for task_id, said in body.updates.items():
            one = store.record(_KIND, task_id)
            if one is None or body.require_assignee not in (None, one["assignee"]):
                continue
            new = _retried(one) if said.clear_assignee else {}
            attributes = {**one["attributes"], **said.attributes}
            finished = said.status not in {"unprocessed", "running"}
            new |= {"status": said.status, "attributes": attributes, "is_finished": finished}
            _change(store, task_id, **new)
            done[task_id] = said.status
        return {"statuses": done}


def _change(store: Store, task_id: str, **new: Any) -> dict[str, Any]:
    new["updated_at"] = now()
    return found(store.change(_KIND, task_id, lambda old: {**old, **new}), _KIND, task_id)


#: What is of one attempt at a task.
_ATTEMPT = ("assignee", "assigned_at", "started_at", "finished_at", "output_log_path")


def _retried(task: dict[str, Any]) -> dict[str, Any]:
    """Say what is new of a task that is to be tried again."""
    return {
        **dict.fromkeys(_ATTEMPT),
        "attempts": [*task["attempts"], _attempt(task)],
        "retries": task["retries"] + 1,
    }


def _attempt(task: dict[str, Any]) -> dict[str, Any]:
    kept = {key: task[key] for key in (*_ATTEMPT, "attempt_number", "status", "status_details")}
    return {**kept, "id": task["attempt_number"], "task_id": _number(task["id"])}


def _shown(task: dict[str, Any]) -> dict[str, Any]:
    told = {key: value for key, value in task.items() if key != "attempts"}
    return {**told, "id": _number(task["id"])}


def _number(task_id: str) -> TaskId:
    return int(task_id) if task_id.isascii() and task_id.isdigit() else task_id
