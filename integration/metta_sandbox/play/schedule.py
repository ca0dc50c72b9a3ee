"""Which scenarios of a run may be played at once. Pure; ``side_by_side`` does it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from metta_sandbox.play.host_inputs import earlier_folder, relative_to_file
from metta_sandbox.scenario.loading import Loaded
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.search import LATEST

#: Bytes that a rank takes, and what is beside the nodes of a stack; see docs/benchmarks.md.
_RANK, _SERVICES = 400 << 20, 150 << 20
#: Bytes of a process that has imported torch for a node of each scenario.
TEMPLATE = 300 << 20
#: Nodes of a stack that have such a one.
_TEMPLATES = 2
#: Of the memory that is free when a run begins, what scenarios may take.
_SHARE = 0.8
_MEMORY = Path("/proc/meminfo")
#: Where control groups (version 2, 1) say how much this process and its neighbours may have.
_LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)
#: Cores that one scenario keeps busy: most have two nodes of one rank.
_CORES = 2


def fitting_jobs(cores: int) -> int:
    """Say how many scenarios this machine's cores can play at once without slowing each other."""
    return max(1, cores // _CORES)


def cores() -> int:
    """Count the cores that this process may use."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


def memory_of(scenario: Scenario) -> int:
    """Estimate what a scenario's stack takes, in bytes."""
    return scenario.ranks * _RANK + _SERVICES


def free_memory() -> int | None:
    """Say how many bytes scenarios may take on this machine; None where that can't be told."""
    if not _MEMORY.is_file():
        return None
    pairs = (line.split(":") for line in _MEMORY.read_text().splitlines())
    free = next((int(said.split()[0]) << 10 for name, said in pairs if name == "MemAvailable"), 0)
    for limit, usage in ((Path(one), Path(other)) for one, other in _LIMITS):
        if limit.is_file() and usage.is_file() and (said := limit.read_text().strip()).isdigit():
            free = min(free, int(said) - int(usage.read_text()))
    return int(free * _SHARE)


def dependencies(scenarios: Sequence[Loaded], run: Path) -> list[set[int]]:
    """Find for each scenario those before it that must be over when it begins.

    They are the one that it compares itself with, or that is compared with it; those that may
    write to the same mounted folder; and all, if it resumes what this very run may play.

    Args:
        scenarios: In the order of the files.
        run: The run's folder of artifacts.

    """
    found: list[set[int]] = []
    for index, one in enumerate(scenarios):
        if _resumes_this_run(one, run):
            found.append(set(range(index)))
            continue
        names, mounts = _compared(one.scenario), _written(one)
        found.append(
            {
                each
                for each, other in enumerate(scenarios[:index])
                if other.scenario.name in names
                or one.scenario.name in _compared(other.scenario)
                or mounts & _written(other)
            }
        )
    return found


def _compared(scenario: Scenario) -> set[str]:
    return {each.said.compared_with for each in scenario.expect} - {""}


def _written(loaded: Loaded) -> set[Path]:
    return {
        relative_to_file(loaded.file, mount.source).resolve()
        for mount in loaded.scenario.workload.mounts
        if not mount.read_only
    }


def _resumes_this_run(loaded: Loaded, run: Path) -> bool:
    if loaded.scenario.sweep.resume in {None, LATEST}:
        return False
    there = earlier_folder(loaded)
    return there is None or there.is_relative_to(run.resolve())


class _Phase(Enum):
    WAITING = "waiting"
    COMING = "coming up"
    READY = "ready"
    WORKING = "working"
    LEAVING = "leaving"
    OVER = "over"


@dataclass(frozen=True)
class Room:
    """What scenarios that are played at once may have.

    Args:
        jobs: How many may work.
        ahead: How many more may come up meanwhile.
        memory: Bytes that all of them may take; None: no limit is known.
        overlapping: Whether one that only leaves makes room for the next.
        keeping: Whether containers stay for the next that can use them.

    """

    jobs: int = 1
    ahead: int = 1
    memory: int | None = None
    overlapping: bool = True
    keeping: bool = False


def shared_nodes(scenarios: Sequence[Scenario], room: Room, copies: int = 1) -> int:
    """Say for how many nodes of each stack torch is imported once for all of them.

    None, where it is imported once only anyway, and where memory is too little for it.

    Args:
        scenarios: All of the run.
        room: What they may have.
        copies: How many processes there are for each such node.

    """
    warm = [scenario.nodes for scenario in scenarios if scenario.warm]
    if len(warm) < 2 or not room.overlapping:  # noqa: PLR2004 - several
        return 0
    count = min(max(warm), _TEMPLATES)
    heaviest = max(memory_of(scenario) for scenario in scenarios)
    fits = room.memory is None or room.memory >= count * copies * TEMPLATE + heaviest
    return count if fits else 0


class Schedule:
    """Says who may come up and who may work, from who has done what so far.

    Args:
        weights: Bytes that each scenario takes, in the order of the files.
        after: For each, which of those before it must be over first.
        room: What all may have.

    """

    def __init__(self, weights: Sequence[int], after: Sequence[set[int]], room: Room) -> None:
        self._weights = weights
        self._after = after
        self._room = room
        self._phases = [_Phase.WAITING] * len(weights)

    @property
    def live(self) -> int:
        """How many have come up, or are about to, and are not over."""
        return len(self._phases) - self._count(_Phase.WAITING, _Phase.OVER)

    def next(self) -> int | None:
        """Let another come up; None if none may now.

        The first whose turn it is may wait for memory, and none overtakes it then. One that needs
        more than there is comes up alone.
        """
        busy = self._count(_Phase.COMING, _Phase.READY, _Phase.WORKING)
        if not self._room.overlapping:
            busy = self.live
        if busy >= self._room.jobs + self._room.ahead:
            return None
        for index, phase in enumerate(self._phases):
            if phase is _Phase.WAITING and all(
                self._phases[other] is _Phase.OVER for other in self._after[index]
            ):
                if self.live and not self._fits(index):
                    return None
                self._phases[index] = _Phase.COMING
                return index
        return None

    def ready(self, index: int) -> None:
        """Note that a scenario waits for its turn to work."""
        self._phases[index] = _Phase.READY

    def turn(self) -> int | None:
        """Let the first of those that are ready work; None if none may now.

        A place is kept for each one before it that is still coming up.
        """
        free = self._room.jobs - self._count(_Phase.WORKING)
        for index, phase in enumerate(self._phases):
            if free > 0 and phase is _Phase.READY:
                self._phases[index] = _Phase.WORKING
                return index
            free -= phase is _Phase.COMING
        return None

    def leaving(self, index: int) -> None:
        """Note that a scenario's work is done, and its stack yet to go."""
        self._phases[index] = _Phase.LEAVING

    def over(self, index: int) -> None:
        """Note that a scenario is over."""
        self._phases[index] = _Phase.OVER

    def _count(self, *phases: _Phase) -> int:
        return sum(phase in phases for phase in self._phases)

    def _fits(self, index: int) -> bool:
        if self._room.memory is None:
            return True
        taken = sum(
            weight
            for weight, phase in zip(self._weights, self._phases, strict=True)
            if phase not in (_Phase.WAITING, _Phase.OVER)
        )
        return taken + self._weights[index] <= self._room.memory
