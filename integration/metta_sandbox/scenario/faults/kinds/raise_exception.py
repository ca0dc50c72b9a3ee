"""An exception is raised in a rank."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, field_validator

from metta_sandbox.scenario.faults.executor import Observed, Registered
from metta_sandbox.scenario.faults.in_ranks import CodeFault, InCode
from metta_sandbox.scenario.overrides import instead

_EXCEPTIONS = [
    name
    for name, each in vars(builtins).items()
    if isinstance(each, type) and issubclass(each, Exception) and not issubclass(each, Warning)
]


class Raise(CodeFault):
    """An exception is raised in the trainer's main thread, wherever it is."""

    key: ClassVar[str] = "raise"
    proof: ClassVar[str] = "the exception was made by the main thread, at this file and line"
    example: ClassVar[str] = (
        "{raise: {rank: 1, exception: RuntimeError}, "
        "when: {event: train.step, rank: 1, trial: 2, step: 1}}"
    )

    exception: str = Field(default="RuntimeError", description="One of Python's own exceptions.")
    message: str = Field(default="injected by a fault", description="What it says.")

    @field_validator("exception")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value not in _EXCEPTIONS:
            meant = instead(value, _EXCEPTIONS)
            raise ValueError(f"expected one of Python's exceptions, such as RuntimeError{meant}")
        return value

    def __str__(self) -> str:
        return f"{self.exception} on rank {self.rank}"


class RaiseInRank(InCode[Raise]):
    """Raises in the main thread."""

    def judge(self, happened: Mapping[str, Any]) -> Observed:
        """See that the exception was made."""
        seen = f"{happened.get('raised')} raised at {happened.get('at')}"
        return Observed(happened.get("raised") == self.said.exception, seen)


FAULT = Registered(Raise, RaiseInRank)
