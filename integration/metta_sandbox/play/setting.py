"""What all scenarios of a run share while they are played, and what comes of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metta_sandbox.errors import SandboxError
from metta_sandbox.image.package_source import PackageSource
from metta_sandbox.play.options import Options
from metta_sandbox.play.turn import Turn
from metta_sandbox.progress import Progress
from metta_sandbox.report.results import ScenarioResult
from metta_sandbox.stack.engines.base import Engine
from metta_sandbox.stack.lease import Owner
from metta_sandbox.timeline.recording import Event


@dataclass(frozen=True)
class Setting:
    """What all scenarios of a run have in common.

    Args:
        engine: What stacks run on.
        owner: The run.
        folder: The run's artifacts.
        progress: Gets lines for whoever watches.
        watch: Gets every event, for whoever watches.
        options: What the command line says.
        turn: Says when the scenario may work, of several that are played beside each other.
        place: The name of the scenario's folder; the scenario's, or one like it, if empty.
        lacks: What scenarios brought along, by name, that could not be had, and why.
        packages: What has packages for nodes that ask for some.
        follow: Gets each line that a SkyPilot task prints, for whoever watches, or None.

    """

    engine: Engine
    owner: Owner
    folder: Path
    progress: Progress
    watch: Callable[[Event], None]
    options: Options = field(default_factory=Options)
    turn: Turn = field(default_factory=Turn)
    place: str = ""
    lacks: Mapping[str, SandboxError] = field(default_factory=dict)
    packages: PackageSource = field(default_factory=PackageSource)
    follow: Callable[[str], None] | None = None


@dataclass(frozen=True)
class Played:
    """A scenario's result, and whether Ctrl-C ended it."""

    result: ScenarioResult
    interrupted: bool
    stack: dict[str, Any]
