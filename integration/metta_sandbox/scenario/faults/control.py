"""Faults of the control plane."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from metta_sandbox.scenario.faults.base import Family, FaultKind, Triggered
from metta_sandbox.scenario.services import Route
from metta_sandbox.scenario.units import Duration
from metta_sandbox.words import time

NEXT_RUN = "POST /sweeps/{name}/runs/next"


class ControlFault(FaultKind):
    """A fault of the control plane's answers."""

    family: ClassVar[Family] = "control plane"
    trigger: ClassVar[Triggered] = "may"
    healing: ClassVar[str] = "it answers as before"
    proof: ClassVar[str] = "the answer that went to the caller"

    @property
    def struck(self) -> str | None:
        """The route whose calls are struck; None for all but the check of its health."""
        return None

    @property
    def rule(self) -> dict[str, Any]:
        """What the control plane is told to do with such a call."""
        raise NotImplementedError


class ApiFault(ControlFault):
    """A route of the control plane answers wrongly, late or not at all."""

    key: ClassVar[str] = "api"
    example: ClassVar[str] = (
        "{api: {route: 'POST /sweeps/{name}/runs/next', status: 503}, when: {call: 2}, "
        "until: {after: 1s}}"
    )

    route: Route = Field(description="Method and template: `POST /sweeps/{name}/runs/next`.")
    status: int | None = Field(
        default=None, ge=200, le=599, description="The answer's status; the service is not asked."
    )
    delay: Duration | None = Field(default=None, description="How long the call waits.")
    drop: bool = Field(
        default=False, description="The service is asked, and its answer gets lost on its way."
    )
    broken_json: bool = Field(
        default=False, description="The service is asked, and half of its answer arrives."
    )

    @model_validator(mode="after")
    def _say_something(self) -> Self:
        said = [self.status is not None, self.drop, self.broken_json]
        if not any(said) and self.delay is None:
            raise ValueError("expected status, delay, drop or broken_json")
        if sum(said) > 1:
            raise ValueError("expected one of status, drop and broken_json")
        return self

    @property
    def struck(self) -> str | None:
        """The route."""
        return self.route

    @property
    def rule(self) -> dict[str, Any]:
        """What to do."""
        told = {"status": self.status, "delay": self.delay}
        said = {key: value for key, value in told.items() if value is not None}
        return {**said, "drop": self.drop, "broken_json": self.broken_json}

    def __str__(self) -> str:
        parts = [
            None if self.delay is None else f"waits {time(self.delay)}",
            None if self.status is None else f"answers {self.status}",
            "loses its answer" if self.drop else None,
            "answers broken JSON" if self.broken_json else None,
        ]
        return f"{self.route} {', '.join(part for part in parts if part)}"


class RunName(ControlFault):
    """The control plane gives out a run name twice, or leaves one out."""

    key: ClassVar[str] = "run_name"
    voids: ClassVar[frozenset[str]] = frozenset({"run names", "W&B runs", "API calls"})
    example: ClassVar[str] = "{run_name: {give: skipped}, when: {call: 2}}"

    give: Literal["duplicate", "skipped"] = Field(
        description="The name of the call before again, or the one after the next."
    )

    @property
    def struck(self) -> str | None:
        """The route that names runs."""
        return NEXT_RUN

    @property
    def rule(self) -> dict[str, Any]:
        """What to do."""
        return {"run_name": self.give}

    def __str__(self) -> str:
        return "a run name is " + ("given twice" if self.give == "duplicate" else "left out")


class RejectToken(ControlFault):
    """No token is known any more: every route answers 401."""

    key: ClassVar[str] = "reject_token"
    example: ClassVar[str] = "{reject_token: {}, when: {event: handoff.sent, trial: 2}}"

    @property
    def rule(self) -> dict[str, Any]:
        """What to do."""
        return {"status": 401, "detail": "X-Auth-Token is not known"}

    def __str__(self) -> str:
        return "tokens are rejected"
