"""How far a scenario has come: what one phase of playing it hands to the next."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from metta_sandbox.errors import SandboxError
from metta_sandbox.play.examiner import Examiner
from metta_sandbox.play.narrator import Narrator
from metta_sandbox.play.nodes import Nodes
from metta_sandbox.play.outcome import Ending
from metta_sandbox.play.packages import PackageDesk
from metta_sandbox.play.striking import Strikes
from metta_sandbox.scenario.expect.judgement import Judgement
from metta_sandbox.stack.engines.base import Stack, StackPlan
from metta_sandbox.timeline.recording import Timeline


@dataclass(frozen=True)
class Leased:
    """A stack that is ours, whether or not it comes up.

    Args:
        plan: What it shall be.
        stack: The stack.

    """

    plan: StackPlan
    stack: Stack


@dataclass(frozen=True)
class Connected:
    """A stack whose hub we are connected to, whether or not its nodes are ready.

    Args:
        plan: What it shall be.
        stack: The stack.
        nodes: Its nodes, and the connection to them.

    """

    plan: StackPlan
    stack: Stack
    nodes: Nodes


@dataclass
class Reached:
    """How far a scenario has come, so that it is collected and told whatever ends it.

    Phases hand their results to each other. Here they only leave what has to be collected, or told
    in the end; None is what the scenario has not come to.

    Args:
        timeline: What happens, in the scenario's folder.
        narrator: Tells whoever watches.

    """

    timeline: Timeline
    narrator: Narrator
    leased: Leased | None = None
    connected: Connected | None = None
    examiner: Examiner | None = None
    desk: PackageDesk | None = None
    started: bool = False
    ending: Ending | None = None
    strikes: Strikes = field(default_factory=Strikes)
    #: The steady state's items before the sweep, and after it, as far as somebody looked.
    before: tuple[Judgement, ...] = ()
    after: tuple[Judgement, ...] = ()
    problems: list[str] = field(default_factory=list)
    interrupted: bool = False
    began: float = field(default_factory=time.perf_counter)
    waited: float = 0.0
    #: How long phases took that are over: ``up``, ``sweep``, ``down``.
    took: dict[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """How long it has taken so far, but for waiting until others were done."""
        return time.perf_counter() - self.began - self.waited

    def note(self, error: BaseException) -> None:
        """Keep an error; the first one is the reason, later ones never hide it."""
        if isinstance(error, (SandboxError, OSError)):
            if str(error) not in self.problems:
                self.problems.append(str(error))
            return
        self.problems.append(f"{type(error).__name__}: {error} (a fault of the sandbox itself)")
        self.timeline.step("".join(traceback.format_exception(error)))

    def interrupt(self) -> None:
        """Keep that Ctrl-C has ended it."""
        self.interrupted = True
        self.problems.append("interrupted")
        self.timeline.step("interrupted")

    def attempt(self, step: Callable[[], object]) -> None:
        """Do something that must not keep what follows from being done."""
        try:
            step()
        except Exception as error:  # noqa: BLE001 - see above
            self.note(error)
