"""Faults of single processes, from outside of them."""

from __future__ import annotations

import signal
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import Self

from metta_sandbox.scenario.faults.base import Family, FaultKind
from metta_sandbox.scenario.hosts import NodeName
from metta_sandbox.scenario.overrides import nearest

_NAMES = [each.name.removeprefix("SIG") for each in signal.Signals]


def _signal(value: Any) -> Any:
    if isinstance(value, str):
        name = value.upper().removeprefix("SIG")
        if name not in _NAMES:
            near = nearest(name, _NAMES)
            hint = f"; did you mean {near}?" if near else ""
            raise ValueError(f"expected a signal such as KILL, SEGV or STOP{hint}")
        return int(signal.Signals[f"SIG{name}"])
    return value


class SignalFault(FaultKind):
    """A process gets a signal: the trainer of one rank, or the rollout of one node."""

    key: ClassVar[str] = "signal"
    family: ClassVar[Family] = "processes"
    healing: ClassVar[str] = "a process that was stopped by STOP goes on; no other can be healed"
    proof: ClassVar[str] = (
        "the process was there, and has ended by the signal, stands still, or has taken it with a "
        "handler of its own"
    )
    example: ClassVar[str] = (
        "{signal: {rank: 1, number: KILL}, when: {event: train.step, rank: 1, trial: 2, step: 1}}"
    )

    rank: int | None = Field(default=None, ge=0, description="The rank whose trainer gets it.")
    rollout: NodeName | None = Field(
        default=None, description="The node whose rollout (or command) gets it."
    )
    number: Annotated[
        int, BeforeValidator(_signal, json_schema_input_type=int | str), Field(ge=1, le=64)
    ] = Field(description="The signal: `KILL`, `SEGV`, `STOP`, or its number.")

    @model_validator(mode="after")
    def _say_one_target(self) -> Self:
        if (self.rank is None) == (self.rollout is None):
            raise ValueError("expected either rank or rollout")
        return self

    @property
    def hosts(self) -> tuple[tuple[tuple[str | int, ...], str], ...]:
        """The node, if one is named."""
        return () if self.rollout is None else ((("rollout",), self.rollout),)

    @property
    def target_rank(self) -> int | None:
        """The rank."""
        return self.rank

    @property
    def heals(self) -> bool:
        """Whether it stops the process."""
        return self.number == signal.SIGSTOP

    @property
    def word(self) -> str:
        """The signal's name."""
        return signal.Signals(self.number).name

    def __str__(self) -> str:
        who = f"the rollout on {self.rollout}" if self.rollout else f"rank {self.rank}"
        return f"{self.word} to {who}"


class WandbService(FaultKind):
    """The process that writes W&B's runs on rank 0's node is killed."""

    key: ClassVar[str] = "wandb_service"
    family: ClassVar[Family] = "processes"
    proof: ClassVar[str] = "wandb-core ran on the node, and has ended"
    voids: ClassVar[frozenset[str]] = frozenset({"W&B runs"})
    example: ClassVar[str] = "{wandb_service: {}, when: {event: handoff.sent, trial: 2}}"

    def __str__(self) -> str:
        return "W&B's service is killed"
