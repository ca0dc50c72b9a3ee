"""What a scenario that is being played has come to so far."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metta_sandbox.errors import SandboxError
from metta_sandbox.image.package_source import PackageSource
from metta_sandbox.play.examiner import Examiner
from metta_sandbox.play.job import Job
from metta_sandbox.play.nodes import Nodes
from metta_sandbox.play.outcome import Ending
from metta_sandbox.play.packages import PackageDesk
from metta_sandbox.play.striking import Strikes
from metta_sandbox.play.turn import Alone, Turn
from metta_sandbox.progress import Progress
from metta_sandbox.report.results import LeftOut, ScenarioResult
from metta_sandbox.scenario.expect.judgement import Judgement
from metta_sandbox.stack.engines.base import Engine, Stack, StackPlan
from metta_sandbox.stack.lease import Owner
from metta_sandbox.stack.link import HubLink
from metta_sandbox.timeline.recording import Event, Timeline
from metta_sandbox.verdict import Verdict


@dataclass(frozen=True)
class Setting:
    """What all scenarios of a run have in common.

    Args:
        engine: What stacks run on.
        owner: The run.
        folder: The run's artifacts.
        progress: Gets lines for whoever watches.
        watch: Gets every event, for whoever watches.
        source: A working copy that every node sees, or None.
        words: The command that starts on every node; made from the scenario if empty.
        credentials: Whether nodes see the caller's credentials, also if a scenario asks for none.
        native_stacks: Whether autopsies read calls of C and C++, too.
        turn: Says when the scenario may work, of several that are played beside each other.
        place: The name of the scenario's folder; the scenario's, or one like it, if empty.
        lacks: What scenarios brought along, by name, that could not be had, and why.
        secrets: Variables that the command line gives to all nodes and nobody else.
        packages: What has packages for nodes that ask for some.
        reviewed_only: Whether nodes may have those packages alone that the scenario requires.

    """

    engine: Engine
    owner: Owner
    folder: Path
    progress: Progress
    watch: Callable[[Event], None]
    source: Path | None = None
    words: tuple[str, ...] = ()
    credentials: bool = False
    native_stacks: bool = False
    turn: Turn = field(default_factory=Alone)
    place: str = ""
    lacks: Mapping[str, SandboxError] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    packages: PackageSource = field(default_factory=PackageSource)
    reviewed_only: bool = False


@dataclass
class Course:
    """What has happened so far to the scenario being played."""

    began: float = field(default_factory=time.perf_counter)
    waited: float = 0.0
    timeline: Timeline | None = None
    plan: StackPlan | None = None
    stack: Stack | None = None
    link: HubLink | None = None
    nodes: Nodes | None = None
    job: Job | None = None
    strikes: Strikes = field(default_factory=Strikes)
    before: tuple[Judgement, ...] = ()
    after: tuple[Judgement, ...] = ()
    unsteady: tuple[Verdict, str] = (Verdict.PASSED, "")
    ending: Ending | None = None
    wanted_end: str = ""
    examiner: Examiner | None = None
    desk: PackageDesk | None = None
    problems: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    first_exits: dict[str, Event] = field(default_factory=dict)
    left_out: LeftOut = field(default_factory=LeftOut)
    interrupted: bool = False
    up: float | None = None
    started: float | None = None
    first_trial: float | None = None
    swept: float | None = None
    down: float | None = None

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
        if self.timeline:
            self.timeline.step("".join(traceback.format_exception(error)))

    def interrupt(self) -> None:
        """Keep that Ctrl-C has ended it."""
        self.interrupted = True
        self.problems.append("interrupted")
        if self.timeline:
            self.timeline.step("interrupted")

    def attempt(self, step: Callable[[], object]) -> None:
        """Do something that must not keep what follows from being done."""
        try:
            step()
        except Exception as error:  # noqa: BLE001 - see above
            self.note(error)


@dataclass(frozen=True)
class Played:
    """A scenario's result, and whether Ctrl-C ended it."""

    result: ScenarioResult
    interrupted: bool
    stack: dict[str, Any]
