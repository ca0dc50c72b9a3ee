"""Carrying out faults of whole nodes."""

from __future__ import annotations

import signal
from typing import Any

from metta_sandbox.errors import StackError
from metta_sandbox.faults.executor import Executor, Message, Observed
from metta_sandbox.faults.power import RUNS, STANDS_STILL
from metta_sandbox.node.agent.events import Told
from metta_sandbox.scenario.faults import Kill, LateStart, Pause, Restart, Terminate
from metta_sandbox.stack.link import SWEEP
from metta_sandbox.timeline.notices import used_notice
from metta_sandbox.words import time as words_for

#: Seconds within which a node is gone once its notice is over.
_AFTERWARDS = 15.0


class KillNode(Executor[Kill]):
    """Cuts a node's power."""

    number = signal.SIGKILL

    def before(self) -> Observed:
        """See that it runs."""
        state = self.context.power.state(self.said.node)
        return Observed(state == RUNS, f"{self.said.node} {state}")

    def inject(self) -> None:
        """Send the signal."""
        self.context.power.signal(self.said.node, self.number)

    def during(self) -> Observed:
        """See that it has ended."""
        state = self.context.power.state(self.said.node)
        ended = state not in (RUNS, STANDS_STILL)
        by_it = self.number != signal.SIGKILL or "killed by signal 9" in state
        return Observed(ended and by_it, f"{self.said.node} {state}")


class TerminateNode(KillNode):
    """Tells a node to end, with or without notice."""

    number = signal.SIGTERM
    said: Terminate  # type: ignore[assignment]

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._ended: Told | None = None
        if self.said.grace is not None:
            self.patience = self.said.grace + _AFTERWARDS

    def inject(self) -> None:
        """Send the signal, or give notice."""
        if self.said.grace is None:
            super().inject()
        else:
            self.context.ask(self.said.node, "notice", grace=self.said.grace)

    def take(self, message: Message) -> None:
        """Keep how the notice was used."""
        record = message.get("record", {})
        if record.get("event") == "node.ended" and message.get("node") == self.said.node:
            self._ended = record

    def during(self) -> Observed:
        """See that it has ended."""
        if self.said.grace is None:
            return super().during()
        if self._ended is None:
            return Observed(holds=False, seen=f"{self.said.node} has not ended")
        observed = super().during()
        return Observed(observed.holds, f"{observed.seen}; {used_notice(self._ended)}")


class RestartNode(KillNode):
    """Cuts a node's power, and gives it back."""

    said: Restart  # type: ignore[assignment]
    #: Its agent has to start, and to find the hub.
    patience = 60.0

    def heal(self) -> None:
        """Start it, unless it runs."""
        if self.context.power.state(self.said.node) not in (RUNS, STANDS_STILL):
            self.context.power.start(self.said.node)

    def after(self) -> Observed:
        """See that it runs, and that its agent answers."""
        state = self.context.power.state(self.said.node)
        try:
            self.context.groups(self.said.node)
        except StackError as error:
            return Observed(holds=False, seen=f"{self.said.node} {state}: {error}")
        return Observed(state == RUNS, f"{self.said.node} {state}, and its agent answers")


class PauseNode(Executor[Pause]):
    """Lets a node stand still."""

    def before(self) -> Observed:
        """See that it runs."""
        state = self.context.power.state(self.said.node)
        return Observed(state == RUNS, f"{self.said.node} {state}")

    def inject(self) -> None:
        """Freeze it."""
        self.context.power.freeze(self.said.node)
        self.context.still.add(self.said.node)

    def during(self) -> Observed:
        """See that it stands still."""
        state = self.context.power.state(self.said.node)
        return Observed(state == STANDS_STILL, f"{self.said.node} {state}")

    def heal(self) -> None:
        """Thaw it, if it is still there."""
        if self.context.power.state(self.said.node) == STANDS_STILL:
            self.context.power.thaw(self.said.node)
        self.context.still.discard(self.said.node)

    def after(self) -> Observed:
        """See that it runs again."""
        state = self.context.power.state(self.said.node)
        return Observed(state == RUNS, f"{self.said.node} {state}")


class StartLate(Executor[LateStart]):
    """Starts the sweep's command on a node once it has run elsewhere for a while."""

    #: Set when the sweep is over before the command was to start.
    too_late = False

    def before(self) -> Observed:
        """See that it runs on the other nodes, and not on this one."""
        others = [host for host in self.context.plan.hosts if host != self.said.node]
        running = [host for host in others if self._runs_on(host)]
        here = self._runs_on(self.said.node)
        on = ", ".join(running) or "none"
        when = (
            "at the sweep's end" if self.too_late else f"{words_for(self.said.by)} after the start"
        )
        seen = f"{when} it runs on {on}"
        seen += f"{' and' if here else ', and not'} on {self.said.node}"
        return Observed(running == others and not here, seen)

    def inject(self) -> None:
        """Start it, if there is still something to take part in."""
        if not self.too_late:
            self.context.start_on(self.said.node)

    def during(self) -> Observed:
        """See that it runs on this one, too, or never did."""
        here = self._runs_on(self.said.node)
        seen = f"{'runs' if here else 'does not run'} on {self.said.node}"
        return Observed(here is not self.too_late, seen)

    def _runs_on(self, host: str) -> bool:
        try:
            return self.context.group(host, SWEEP) is not None
        except StackError:
            return False
