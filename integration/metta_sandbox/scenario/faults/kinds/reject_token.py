"""The control plane knows no token."""

from __future__ import annotations

from typing import Any

from metta_sandbox.scenario.faults.answers import ControlFault, MisguideApi
from metta_sandbox.scenario.faults.executor import FaultPair


class RejectTokenFault(ControlFault):
    """No token is known any more: every route answers 401."""

    key = "reject_token"
    example = "{reject_token: {}, when: {event: handoff.sent, trial: 2}}"

    @property
    def rule(self) -> dict[str, Any]:
        """The answer to every call."""
        return {"status": 401, "detail": "X-Auth-Token is not known"}

    def __str__(self) -> str:
        return "tokens are rejected"


FAULT = FaultPair(RejectTokenFault, MisguideApi)
