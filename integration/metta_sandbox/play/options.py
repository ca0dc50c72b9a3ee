"""What the command line says of a run, and which scenarios that leaves."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from metta_sandbox.errors import InputError
from metta_sandbox.play.schedule import Room, cores, fitting_jobs, free_memory
from metta_sandbox.progress import Progress
from metta_sandbox.scenario.loading import Loaded
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.overrides import nearest
from metta_sandbox.scenario.untrusted import Untrusted
from metta_sandbox.skypilot.variables import Launched


def launched_now() -> Launched:
    """Say that a SkyPilot task is launched now, and by whom."""
    now = datetime.now(timezone.utc)
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # nobody has this number
        user = str(os.getuid())
    return Launched(f"sky-{now:%Y-%m-%d-%H-%M-%S-%f}", user)


@dataclass(frozen=True)
class Options:
    """What the command line says.

    Args:
        paths: Scenario files or folders.
        given: Scenarios that were read already; then ``paths`` is not looked at.
        words: The command as typed, which starts on every node; made from the scenario if empty.
        standing: Whether the standing stack is used when one is up.
        credentials: Whether nodes see the caller's credentials, also if a scenario asks for none.
        engine: ``auto``, ``compose`` or ``process``.
        artifacts: Where runs leave their artifacts.
        filter: Words; a scenario is played if its name or a tag holds one of them.
        seed: Goes over every scenario's own, if given.
        settings: Values of the files' variables, by name.
        secrets: Variables that all nodes are given, masked wherever anything is written.
        source: A working copy that every node sees, with no links in its path, or None.
        requirements: A requirements file of what a launch's trainer imports, or None.
        jobs: How many scenarios may be played at once; None: as many as the cores allow.
        fresh: Whether each scenario's stack comes up when the one before has gone, and no sooner.
        keep_nodes: Whether containers stay for scenarios of the same needs, but with ``fresh``.
        native_stacks: Whether autopsies read calls of C and C++, too.
        untrusted: What the files may say, if they are a stranger's, whose nodes are containers.
        ci: Whether this is a CI job.
        follow: Whether what a SkyPilot task prints is shown.
        launched: When SkyPilot tasks are launched, and by whom.

    """

    paths: tuple[Path, ...] = ()
    given: tuple[Loaded, ...] = ()
    words: tuple[str, ...] = ()
    standing: bool = False
    credentials: bool = False
    engine: str = "auto"
    artifacts: Path = Path("artifacts")
    filter: tuple[str, ...] = ()
    seed: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    source: Path | None = None
    requirements: Path | None = None
    jobs: int | None = None
    fresh: bool = False
    keep_nodes: bool = True
    native_stacks: bool = False
    untrusted: Untrusted | None = None
    ci: bool = False
    follow: bool = False
    launched: Launched = field(default_factory=launched_now)


def chosen(found: Sequence[Loaded], options: Options) -> list[Loaded]:
    """Pick the scenarios that are to be played, with the seed that goes over theirs.

    Raises:
        InputError: The filter leaves none.

    """
    left = [one for one in found if not options.filter or _meets(one.scenario, options.filter)]
    if found and not left:
        names = [one.scenario.id for one in found]
        words = [word for one in found for word in (one.scenario.name, *one.scenario.tags)]
        near = nearest(options.filter[0], words)
        raise InputError(
            f"--filter {' '.join(options.filter)}: no scenario has that in its name or tags",
            f"did you mean {near}?" if near else f"there are {', '.join(names)}",
        )
    if options.seed is None:
        return left
    seed = {"seed": options.seed}
    return [replace(one, scenario=one.scenario.model_copy(update=seed)) for one in left]


def _meets(scenario: Scenario, words: Sequence[str]) -> bool:
    return any(
        word in scenario.id or word in scenario.name or word in scenario.tags for word in words
    )


def room_of(options: Options, warn: Progress) -> Room:
    """Find out how much there is for scenarios that are played at once."""
    jobs = options.jobs or fitting_jobs(cores())
    if options.source and jobs > 1:
        if options.jobs:
            warn("with --source scenarios share a working folder: playing one at a time")
        jobs = 1
    return Room(
        jobs=jobs,
        ahead=0 if options.fresh else 1,
        memory=free_memory(),
        overlapping=not options.fresh,
        keeping=options.keep_nodes and not options.fresh,
    )


def in_ci() -> bool:
    """Tell whether this is a CI job."""
    return os.environ.get("CI", "").lower() == "true"
