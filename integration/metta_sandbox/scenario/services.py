"""What the stand-in services answer in place of what they would."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, model_validator
from typing_extensions import Self

from metta_sandbox.scenario.base import Part
from metta_sandbox.scenario.overrides import did_you_mean
from metta_sandbox.scenario.units import Duration
from metta_sandbox.words import time

#: The control plane's routes that may be given an answer. A check of one's health may not: it
#: tells whether the process lives.
ROUTES = (
    "GET /sweeps/{name}",
    "POST /sweeps/{name}/create_sweep",
    "POST /sweeps/{name}/runs/next",
    "GET /whoami",
    "GET /jobs",
    "POST /jobs/batch",
    "GET /jobs/{job_id}",
    "POST /jobs/{job_id}",
    "POST /sql/query",
    "GET /sql/tables",
    "GET /sql/tables/{table_name}/schema",
    "GET /stats/episodes",
    "POST /stats/episodes",
    "POST /stats/episodes/bulk_upload/complete",
    "POST /stats/episodes/bulk_upload/presigned-url",
    "POST /stats/episodes/query",
    "GET /stats/episodes/{record_id}",
    "GET /stats/policies",
    "POST /stats/policies",
    "GET /stats/policies/ids",
    "GET /stats/policies/my-versions",
    "GET /stats/policies/versions/{version_id}",
    "PUT /stats/policies/versions/{version_id}/tags",
    "GET /stats/policies/{policy_id}/versions",
    "POST /stats/policies/{policy_id}/versions",
    "GET /stats/policies/{record_id}",
    "GET /stats/policy-versions",
    "GET /stats/training-runs",
    "POST /stats/training-runs",
    "GET /stats/training-runs/{record_id}",
    "GET /stats/training-runs/{run_id}/epochs",
    "POST /stats/training-runs/{run_id}/epochs",
    "GET /stats/training-runs/{run_id}/epochs/{epoch_id}",
    "POST /tasks",
    "GET /tasks/all",
    "GET /tasks/available",
    "POST /tasks/claim",
    "GET /tasks/claimed",
    "POST /tasks/claimed/update",
    "GET /tasks/git-hashes",
    "POST /tasks/git-hashes",
    "GET /tasks/latest",
    "GET /tasks/{task_id}",
    "GET /tasks/{task_id}/attempts",
    "POST /tasks/{task_id}/finish",
    "POST /tasks/{task_id}/start",
    "PUT /uploads/{upload_id}",
)

#: The file of a control plane's data folder that holds its part of a scenario, as JSON.
ANSWERS = "answers.json"


#: What is scripted most.
_USUAL = "POST /sweeps/{name}/runs/next"

#: Asked all the time, also when all else waits.
_HEALTH = "GET /health"


def _known(value: str) -> str:
    if value == _HEALTH:
        raise ValueError("can't be scripted or counted (it tells whether the process lives)")
    if value not in ROUTES:
        hint = did_you_mean(value, ROUTES, f"such as {_USUAL}")
        raise ValueError(f"the control plane has no route '{value[:60]}'{hint}")
    return value


#: One of the control plane's routes: method and template.
Route = Annotated[str, AfterValidator(_known)]


def _one_or_more(given: Any) -> Any:
    return [given] if isinstance(given, int) and not isinstance(given, bool) else given


Calls = Annotated[
    tuple[Annotated[int, Field(ge=1)], ...],
    Field(strict=False, min_length=1),
    BeforeValidator(_one_or_more, json_schema_input_type=int | list[int]),
]


class ScriptedAnswer(Part):
    """What one route answers, at some of its calls or at every one."""

    route: Route = Field(description="Method and template: `POST /sweeps/{name}/runs/next`.")
    call: Calls | None = Field(
        default=None,
        description="The how-manieth calls of the route, from 1, repeated ones counted. Default: "
        "every call.",
    )
    status: int | None = Field(
        default=None,
        ge=200,
        le=599,
        description="Answered in place of the service, which never sees the call.",
    )
    body: JsonValue | None = Field(
        default=None,
        description="The answer's body in place of the service: JSON, or a text as it is.",
    )
    delay: Duration | None = Field(
        default=None, description="How long the call waits before anything is done."
    )
    drop: bool = Field(
        default=False,
        description="The service does what was asked, and the answer gets lost on its way: the "
        "connection is closed without one.",
    )

    @model_validator(mode="after")
    def _say_something(self) -> Self:
        answers = self.status is not None or self.body is not None
        if not answers and not self.drop and self.delay is None:
            raise ValueError("expected status, body, delay or drop")
        if answers and self.drop:
            raise ValueError("expected no status and no body with drop: nothing is answered")
        return self

    def takes(self, route: str, number: int) -> bool:
        """Tell whether a call of a route is one of those meant."""
        return route == self.route and (self.call is None or number in self.call)

    def __str__(self) -> str:
        calls = "" if self.call is None else f" call {', '.join(map(str, self.call))}"
        parts = [
            None if self.delay is None else f"wait {time(self.delay)}",
            None if self.status is None else str(self.status),
            None if self.body is None else "a body of the scenario's",
            "drop" if self.drop else None,
        ]
        return f"{self.route}{calls}: {', '.join(part for part in parts if part)}"


class WandbAnswer(Part):
    """What W&B's stand-in does with one operation, at some of its calls or at every one."""

    operation: str = Field(
        pattern=r"^[A-Za-z_]\w*$",
        description="What is called: an operation of GraphQL, such as `UpsertBucket`, or "
        "`file_stream`, where a run's history goes, or `storage`, where files go.",
    )
    call: Calls | None = Field(
        default=None,
        description="The how-manieth calls, from 1, repeated ones counted. Default: every call.",
    )
    status: int | None = Field(
        default=None, ge=400, le=599, description="Answered in its place; it never sees the call."
    )
    retry_after: Duration | None = Field(
        default=None, description="What the answer's header `Retry-After` says, with `status`."
    )
    delay: Duration | None = Field(
        default=None, description="How long the call waits before anything is done."
    )
    drop: bool = Field(
        default=False, description="It is done, and the connection closed without an answer."
    )
    broken_json: bool = Field(
        default=False, description="It is done, and half of the answer is sent."
    )

    @model_validator(mode="after")
    def _say_something(self) -> Self:
        answers = (self.status is not None, self.drop, self.broken_json)
        if sum(answers) > 1:
            raise ValueError("expected one of status, drop and broken_json")
        if not any(answers) and self.delay is None:
            raise ValueError("expected status, delay, drop or broken_json")
        if self.retry_after is not None and self.status is None:
            raise ValueError("expected status beside retry_after")
        return self


class ServedWandb(Part):
    """A stand-in for W&B's server, which nodes track to in place of offline files."""

    serve: bool = Field(
        default=True,
        description="Whether nodes get the address and a key of a W&B of their own "
        "(`WANDB_BASE_URL`, `WANDB_API_KEY`, `WANDB_MODE=online`).",
    )
    answers: Annotated[tuple[WandbAnswer, ...], Field(strict=False)] = Field(
        default=(),
        description="What it does with some calls; of several that take one, the first counts.",
    )


class Services(Part):
    """The services of a stack, and what a scenario has them answer."""

    api: Annotated[tuple[ScriptedAnswer, ...], Field(strict=False)] = Field(
        default=(),
        description="Answers of the control plane; of several that take a call, the first counts.",
    )
    wandb: ServedWandb | None = Field(
        default=None,
        description="A stand-in for W&B's server. Default: none, and W&B writes offline files.",
    )

    @property
    def serves_wandb(self) -> bool:
        """Whether nodes have a W&B to track to."""
        return self.wandb is not None and self.wandb.serve
