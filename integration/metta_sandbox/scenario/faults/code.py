"""Faults inside a rank's trainer, which need nothing of the trainer itself."""

from __future__ import annotations

import builtins
from typing import ClassVar

from pydantic import Field, field_validator

from metta_sandbox.scenario.faults.base import Family, FaultKind, Triggered
from metta_sandbox.scenario.overrides import nearest
from metta_sandbox.scenario.units import Shift, format_shift
from metta_sandbox.scenario.values import Value

_EXCEPTIONS = [
    name
    for name, each in vars(builtins).items()
    if isinstance(each, type) and issubclass(each, Exception) and not issubclass(each, Warning)
]
#: Seconds by which a clock must be off, so that it can be told from one that is right.
_LEAST_SHIFT = 0.1


class CodeFault(FaultKind):
    """A fault that is carried out by what the launcher injects into one rank's interpreter."""

    family: ClassVar[Family] = "code"

    rank: int = Field(ge=0, description="The rank.")

    @property
    def target_rank(self) -> int | None:
        """The rank."""
        return self.rank

    def __str__(self) -> str:
        return f"{self.key.replace('_', ' ')} on rank {self.rank}"


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
            near = nearest(value, _EXCEPTIONS)
            hint = f"; did you mean {near}?" if near else ""
            raise ValueError(f"expected one of Python's exceptions, such as RuntimeError{hint}")
        return value

    def __str__(self) -> str:
        return f"{self.exception} on rank {self.rank}"


class Exit(CodeFault):
    """The trainer's process ends with a status, without any cleaning up."""

    key: ClassVar[str] = "exit"
    proof: ClassVar[str] = "the rank's process ran, and has ended with the status"
    example: ClassVar[str] = (
        "{exit: {rank: 1, status: 3}, when: {event: train.step, rank: 1, trial: 1, step: 1}}"
    )

    status: int = Field(default=1, ge=0, le=255, description="The exit status.")


class Segfault(CodeFault):
    """The trainer reads memory that it has not."""

    key: ClassVar[str] = "segfault"
    proof: ClassVar[str] = "the rank's process ran, and has ended by SIGSEGV"
    example: ClassVar[str] = (
        "{segfault: {rank: 1}, when: {event: train.step, rank: 1, trial: 1, step: 1}}"
    )


class Sleep(CodeFault):
    """The trainer's main thread sleeps and never wakes."""

    key: ClassVar[str] = "sleep"
    proof: ClassVar[str] = "the main thread's stack ends in the sleep"
    example: ClassVar[str] = (
        "{sleep: {rank: 1}, when: {event: train.step, rank: 1, trial: 1, step: 1}}"
    )


class HoldGil(CodeFault):
    """The trainer's main thread waits in C code without giving the interpreter's lock away."""

    key: ClassVar[str] = "hold_gil"
    proof: ClassVar[str] = "the process lives, and none of its other threads answers any more"
    example: ClassVar[str] = (
        "{hold_gil: {rank: 1}, when: {event: train.step, rank: 1, trial: 1, step: 1}}"
    )


class NanGradients(CodeFault):
    """The gradients of one optimizer step are NaN."""

    key: ClassVar[str] = "nan_gradients"
    proof: ClassVar[str] = "gradients that were finite are NaN as the optimizer reads them"
    voids: ClassVar[frozenset[str]] = frozenset({"digests"})
    example: ClassVar[str] = (
        "{nan_gradients: {rank: 1}, when: {event: optimizer.step, rank: 1, trial: 1, step: 2}}"
    )


class SkipCollective(CodeFault):
    """The rank leaves out its next collective, or the next reduction of its gradients by DDP."""

    key: ClassVar[str] = "skip_collective"
    proof: ClassVar[str] = "the collective was called and returned at once, without communicating"
    voids: ClassVar[frozenset[str]] = frozenset({"digests"})
    example: ClassVar[str] = (
        "{skip_collective: {rank: 1}, when: {event: train.step, rank: 1, trial: 1, step: 1}}"
    )


class Clock(CodeFault):
    """The wall clock of the trainer's process is off; its monotonic clocks are right."""

    key: ClassVar[str] = "clock"
    harmless: ClassVar[bool] = True
    healing: ClassVar[str] = "it is right again; that of a process that ends is gone with it"
    proof: ClassVar[str] = (
        "the rank's wall clock was the kernel's, is off by this much, and is the kernel's again; "
        "its monotonic clock is the kernel's all the time"
    )
    example: ClassVar[str] = (
        "{clock: {rank: 1, by: 1h}, when: {event: train.step, rank: 1, trial: 1, step: 1}, "
        "until: {after: 2s}}"
    )

    by: Shift = Field(description="How far it goes ahead; with a minus, behind.")

    @field_validator("by")
    @classmethod
    def _can_be_seen(cls, value: float) -> float:
        if abs(value) < _LEAST_SHIFT:
            raise ValueError("expected at least 100ms, ahead or behind")
        return value

    def __str__(self) -> str:
        way = "behind" if self.by < 0 else "ahead"
        return f"the clock of rank {self.rank} is {format_shift(abs(self.by))} {way}"


class OtherOverrides(CodeFault):
    """The rank is started with other overrides than were handed off."""

    key: ClassVar[str] = "overrides"
    trigger: ClassVar[Triggered] = "none"
    proof: ClassVar[str] = "what the rank was started with is not what was handed off"
    voids: ClassVar[frozenset[str]] = frozenset({"digests"})
    example: ClassVar[str] = (
        "{overrides: {rank: 1, trial: 2, values: {trainer.optimizer.learning_rate: 0.5}}}"
    )

    trial: int = Field(ge=1, description="In this trial.")
    values: dict[str, Value] = Field(min_length=1, description="The others, by dotted key.")
