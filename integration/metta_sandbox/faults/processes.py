"""Carrying out faults of single processes."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

from metta_sandbox.errors import StackError
from metta_sandbox.faults.executor import Executor, Observed
from metta_sandbox.scenario.faults import SignalFault, WandbService
from metta_sandbox.stack.ends import describe_end
from metta_sandbox.stack.link import SWEEP

_STOPPED = "T"
_NEVER_CAUGHT = (signal.SIGKILL, signal.SIGSTOP)


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
            return Observed(by_it, f"{self.who} {describe_end(status)}")
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
            return self.context.group(self.host, SWEEP)
        if not pid:
            return self.context.trainer(self.said.rank)
        states = [state for group in self.context.groups(self.host) for state in group["ranks"]]
        return next((state for state in states if state["pid"] == pid), None)


class KillWandbService(Executor[WandbService]):
    """Kills the processes that write W&B's runs on rank 0's node."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._pids: list[int] = []

    def before(self) -> Observed:
        """They run."""
        self._pids = self._live()
        return Observed(bool(self._pids), f"wandb-core runs as {self._pids or 'no process'}")

    def inject(self) -> None:
        """Kill them."""
        for pid in self._pids:
            self.context.ask(self._host, "signal-process", pid=pid, signal=signal.SIGKILL)

    def during(self) -> Observed:
        """They have ended."""
        left = [pid for pid in self._pids if pid in self._live()]
        return Observed(not left and bool(self._pids), f"of {self._pids} live {left or 'none'}")

    @property
    def _host(self) -> str:
        return self.context.plan.hosts[0]

    def _live(self) -> list[int]:
        return [
            each["pid"]
            for each in self.context.processes(self._host)
            if "wandb-core" in each["command"] and each["state"] != "Z"
        ]
