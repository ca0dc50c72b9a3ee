"""A process gets a signal."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import Self

from metta_sandbox.errors import StackError
from metta_sandbox.scenario.faults.base import Family, FaultKind
from metta_sandbox.scenario.faults.executor import Executor, Observed, Registered
from metta_sandbox.scenario.hosts import NodeName
from metta_sandbox.scenario.overrides import instead
from metta_sandbox.words import ended

_NAMES = [each.name.removeprefix("SIG") for each in signal.Signals]


def _signal(value: Any) -> Any:
    if isinstance(value, str):
        name = value.upper().removeprefix("SIG")
        if name not in _NAMES:
            meant = instead(name, _NAMES)
            raise ValueError(f"expected a signal such as KILL, SEGV or STOP{meant}")
        return int(signal.Signals[f"SIG{name}"])
    return value


_STOPPED = "T"
_NEVER_CAUGHT = (signal.SIGKILL, signal.SIGSTOP)


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


class SignalProcess(Executor[SignalFault]):
    """Sends a signal to a trainer or a rollout."""

    pid = 0
    #: Whether the process has a handler of its own for the signal, as torchrun and trainers have
    #: that save before they end.
    caught = False

    @property
    def host(self) -> str:
        """The node it is on."""
        if self.said.rollout is not None:
            return self.said.rollout
        assert self.said.rank is not None
        return self.context.host_of(self.said.rank)

    @property
    def who(self) -> str:
        """The process in words."""
        return "the rollout" if self.said.rank is None else f"rank {self.said.rank}"

    def before(self) -> Observed:
        """See that it is there."""
        found = self._target()
        if found is None or found["status"] is not None:
            return Observed(holds=False, seen=f"{self.who} has no live process")
        self.pid = int(found["pid"])
        state = self.context.state_of(self.host, self.pid)
        well = state not in ("", "Z", _STOPPED)
        if well and self.said.number not in _NEVER_CAUGHT:
            self.caught = "caught" in self._dispositions()
        handled = f", with a handler of its own for {self.said.word}" if self.caught else ""
        seen = f"{self.who} is process {self.pid} in state {state or 'unknown'}{handled}"
        return Observed(well, seen)

    def inject(self) -> None:
        """Send it."""
        if not self.pid:
            raise StackError(f"{self.who} has no live process")
        self.context.ask(self.host, "signal-process", pid=self.pid, signal=self.said.number)

    def during(self) -> Observed:
        """See that it has ended by it, or stands still."""
        found = self._target(self.pid)
        status = None if found is None else found["status"]
        if status is not None:
            by_it = self.caught or status == -self.said.number
            return Observed(by_it, f"{self.who} {ended(status)}")
        if self.caught:
            taken = "pending" not in self._dispositions()
            seen = f"{self.who} {'has taken' if taken else 'has not yet taken'} {self.said.word}"
            return Observed(taken, seen)
        state = self.context.state_of(self.host, self.pid)
        stops = self.said.number == signal.SIGSTOP
        return Observed(
            stops and state == _STOPPED, f"process {self.pid} is in state {state or '?'}"
        )

    def heal(self) -> None:
        """Let it go on, if it stands still."""
        if self.said.number == signal.SIGSTOP and self.pid:
            self.context.ask(self.host, "signal-process", pid=self.pid, signal=signal.SIGCONT)

    def after(self) -> Observed | None:
        """See that it goes on, or has ended since."""
        if self.said.number != signal.SIGSTOP:
            return None
        state = self.context.state_of(self.host, self.pid)
        return Observed(state != _STOPPED, f"process {self.pid} is in state {state or 'ended'}")

    def _dispositions(self) -> list[str]:
        """Ask what the process does with the signal."""
        found: list[str] = self.context.ask(
            self.host, "dispositions", pid=self.pid, signal=self.said.number
        )
        return found

    def _target(self, pid: int = 0) -> Mapping[str, Any] | None:
        if self.said.rank is None:
            return self.context.command(self.host)
        if not pid:
            return self.context.trainer(self.said.rank)
        states = [state for group in self.context.groups(self.host) for state in group["ranks"]]
        return next((state for state in states if state["pid"] == pid), None)


FAULT = Registered(SignalFault, SignalProcess)
