"""What runs made whose lease is not here: it was lost with its folder, or is somebody else's.

Another home, ``sudo``, or the new home of a CI job each have leases of their own. So what a run
made says itself whose it is: labels in an engine, a file in a run's temporary folder.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from metta_sandbox.stack.engines.compose.containers import client
from metta_sandbox.stack.lease import KEYS, LABEL, Owner, leased
from metta_sandbox.stack.marks import all_run_folders, marked_processes, read_owner
from metta_sandbox.stack.owners import Fate, here
from metta_sandbox.stack.standing import standing_run

#: How an engine's client lists what carries labels, and removes it.
_LISTED = {"container": ["--all"], "network": [], "volume": []}
_REMOVED = {
    "container": "docker rm --force --volumes",
    "network": "docker network rm",
    "volume": "docker volume rm",
}


@dataclass
class Made:
    """What is there of a run.

    Args:
        owner: Whose it is.
        running: Whether one of its containers runs.
        things: Names of containers, networks and volumes, folders, and numbers of processes.

    """

    owner: Owner
    running: bool = False
    things: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def commands(self) -> list[str]:
        """List the commands that remove it."""
        found = [
            f"{command} {' '.join(self.things[what])}"
            for what, command in _REMOVED.items()
            if self.things.get(what)
        ]
        if pids := self.things.get("process"):
            found.append(f"kill -9 {' '.join(pids)}")
        if folders := self.things.get("folder"):
            found.append(f"rm -r {shlex.join(folders)}")
        return found


@dataclass(frozen=True)
class Doubtful:
    """What is there of a run of which nobody here can tell whether it is over.

    Args:
        run: The run's id.
        why: Why that can't be told.
        commands: What removes it.

    """

    run: str
    why: str
    commands: tuple[str, ...]


def look(*, engine: bool) -> tuple[list[str], list[Doubtful]]:
    """Find what is there of runs that have no lease here.

    Args:
        engine: Whether there is an engine to be asked.

    Returns:
        The runs whose owner is gone, and what can't be told of.

    """
    made = _made_here()
    for run, found in (made_on_engine() if engine else {}).items():
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
        if fate is Fate.GONE and found.running and found.owner.boot != here().boot:
            # No container of ours goes on after a boot: it is a machine's that is like this one.
            fate, why = Fate.UNKNOWN, "it runs, and was made in another boot"
        if fate is Fate.GONE:
            gone.append(run)
        elif fate is Fate.UNKNOWN:
            leases = found.owner.leases
            told = f"{why} (its lease was in {leases})" if leases else why
            doubtful.append(Doubtful(run, told, tuple(found.commands)))
    return gone, doubtful


def _made_here() -> dict[str, Made]:
    made: dict[str, Made] = {}
    for folder in all_run_folders():
        made[folder.name] = Made(read_owner(folder))
        made[folder.name].things["folder"].append(str(folder))
    for pid, run, owner in marked_processes():
        made.setdefault(run, Made(owner)).things["process"].append(str(pid))
    return made


def made_on_engine() -> dict[str, Made]:
    """Find what there is in the engine, by run."""
    made: dict[str, Made] = {}
    with ThreadPoolExecutor(len(_LISTED)) as pool:
        for what, lines in zip(_LISTED, pool.map(partial(_listed, client()), _LISTED), strict=True):
            for line in lines:
                name, status, *values = json.loads(line)
                labels = {f"{LABEL}.{key}": value for key, value in zip(KEYS, values, strict=True)}
                owner = Owner.of_labels(labels)
                found = made.setdefault(owner.run, Made(owner))
                found.things[what].append(name)
                found.running |= status.startswith("Up")
                if not found.owner.pid:  # somebody's own, beside the run's
                    found.owner = owner
    return made


def _listed(docker: Sequence[str], what: str) -> list[str]:
    about = ("{{json .Names}}", "{{json .Status}}")
    if what != "container":
        about = ("{{json .Name}}", '""')
    fields = ",".join([*about, *(f'{{{{json (.Label "{LABEL}.{key}")}}}}' for key in KEYS)])
    command = [*docker, what, "ls", *_LISTED[what], f"--filter=label={LABEL}.run"]
    said = subprocess.run(
        [*command, f"--format=[{fields}]"], capture_output=True, text=True, check=False
    )
    # An engine that is gone has nothing that could be removed now.
    return said.stdout.splitlines() if said.returncode == 0 else []
