"""A route of the control plane answers wrongly."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator
from typing_extensions import Self

from metta_sandbox.scenario.faults.answers import ControlFault, MisguideApi
from metta_sandbox.scenario.faults.executor import FaultPair
from metta_sandbox.scenario.services import Route
from metta_sandbox.scenario.units import Duration
from metta_sandbox.words import time


class ApiFault(ControlFault):
    """A route of the control plane answers wrongly, late or not at all."""

    key = "api"
    example = (
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
        """The route whose calls are struck."""
        return self.route

    @property
    def rule(self) -> dict[str, Any]:
        """What the control plane does with a call of the route."""
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


FAULT = FaultPair(ApiFault, MisguideApi)
