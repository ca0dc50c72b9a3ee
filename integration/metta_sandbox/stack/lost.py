"""What runs made whose lease is not here: it was lost with its folder, or is somebody else's.

Another home, ``sudo``, or the new home of a CI job each have leases of their own. So what a run
made says itself whose it is: labels in an engine, a file in a run's temporary folder.
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from metta_sandbox.stack.engines.base import Engine
from metta_sandbox.stack.lease import Owner, leased
from metta_sandbox.stack.marks import all_run_folders, marked_processes, read_owner
from metta_sandbox.stack.owners import OwnerFate, here
from metta_sandbox.stack.standing_record import standing_run


@dataclass
class RunTraces:
    """Processes, folders, containers, networks and volumes that a run has made.

    Args:
        owner: Whose it is.
        running: Whether one of its containers runs.
        things: Names and numbers, by the command that removes them.

    """

    owner: Owner
    running: bool = False
    things: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def commands(self) -> list[str]:
        """The commands that remove all of it."""
        return [f"{command} {shlex.join(names)}" for command, names in self.things.items()]


@dataclass(frozen=True)
class DoubtfulRun:
    """A run of which nobody here can tell whether it is over, and what removes its traces.

    Args:
        run: The run's id.
        why: Why that can't be told.
        commands: What removes it.

    """

    run: str
    why: str
    commands: tuple[str, ...]


def look(engines: Iterable[Engine]) -> tuple[list[str], list[DoubtfulRun]]:
    """Find what is there of runs that have no lease here.

    Args:
        engines: Those that are asked, beside this machine itself.

    Returns:
        The runs whose owner is gone, and what can't be told of.

    """
    made = _made_here()
    for run, found in (one for engine in engines for one in engine.made().items()):
        if run in made:
            found.things.update(made[run].things)
        # Labels can't be lost.
        made[run] = found
    ours = {standing_run(), *leased()}
    gone, doubtful = [], []
    for run, found in sorted(made.items()):
        if run in ours:
            continue
        fate, why = found.owner.fate()
        if fate is OwnerFate.GONE and found.running and found.owner.boot != here().boot:
            # No container of ours goes on after a boot: it is a machine's that is like this one.
            fate, why = OwnerFate.UNKNOWN, "it runs, and was made in another boot"
        if fate is OwnerFate.GONE:
            gone.append(run)
        elif fate is OwnerFate.UNKNOWN:
            leases = found.owner.leases
            told = f"{why} (its lease was in {leases})" if leases else why
            doubtful.append(DoubtfulRun(run, told, tuple(found.commands)))
    return gone, doubtful


def _made_here() -> dict[str, RunTraces]:
    made: dict[str, RunTraces] = {}
    for pid, run, owner in marked_processes():
        made.setdefault(run, RunTraces(owner)).things["kill -9"].append(str(pid))
    for folder in all_run_folders():
        owner = read_owner(folder)
        found = made.setdefault(folder.name, RunTraces(owner))
        found.owner = owner
        found.things["rm -r"].append(str(folder))
    return made
