"""A harness that is killed at any moment leaves nothing once the next one has started."""

from __future__ import annotations

import json
import signal
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from metta_sandbox.node.agent.load import slowed
from metta_sandbox.stack.credentials import memory_root

if TYPE_CHECKING:
    from tests.integration.leftovers.conftest import Ground
    from tests.integration.play.conftest import Command

#: What a run tells when its sweep is over. Kills are spread over the time before, by what was told
#: and not by seconds, so that they hit a run that is alive on a fast machine and on a slow one.
_SWEEP_OVER = "sweep: "


@dataclass(frozen=True)
class Moment:
    """When a harness is killed.

    Attributes:
        told: After so many lines of its timeline.
        seconds: And so many seconds after that; after its start, if ``told`` is 0.

    """

    told: int = 0
    seconds: float = 0.0

    def come(self, command: Command) -> None:
        """Wait for it, or for the end of the run."""
        _until(command, lambda: len(_told(command)) >= self.told)
        began = time.monotonic() if self.told else command.began
        _until(command, lambda: time.monotonic() - began >= self.seconds)


def moments(count: int, lines: int) -> list[Moment]:
    """Spread moments over a run's life, closer at its beginning.

    Args:
        count: How many.
        lines: Of the timeline of a run that nobody killed, up to where its sweep was over.

    """
    first = count // 4
    rest = count - first
    early = [Moment(seconds=1.2 * (number + 0.2) / first) for number in range(first)]
    return [*early, *(Moment(1 + round((lines - 1) * n / (rest - 1))) for n in range(rest))]


@dataclass
class Figures:
    """What was seen right after kills."""

    killed: int = 0
    ended_before: int = 0
    left: list[int] = field(default_factory=list)
    stages: dict[str, int] = field(default_factory=dict)
    alone: list[float] = field(default_factory=list)
    not_alone: int = 0

    def __str__(self) -> str:
        alone = "-"
        if self.alone:
            alone = f"{statistics.median(self.alone):.1f}, at most {max(self.alone):.1f}"
        return (
            f"{self.killed} killed, {self.ended_before} had ended; left right after the kill: "
            f"something {sum(map(bool, self.left))} times, {statistics.mean(self.left):.1f} things "
            f"on average, at most {max(self.left)}; all gone by themselves after {alone} s "
            f"({self.not_alone} times not within 30 s); killed during {self.stages}"
        )


@pytest.mark.parametrize(
    "count",
    [2, pytest.param(40, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])],
)
def test_on_local_processes(ground: Ground, count: int) -> None:
    ground.say("up", "--engine", "process")
    try:
        _kill_at(ground, count)
        ground.say("status")  # which is an error unless all of it is well
    finally:
        ground.say("stop")


@pytest.mark.parametrize(
    "count",
    [2, pytest.param(40, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])],
)
def test_on_containers(docker_ground: Ground, count: int) -> None:
    _kill_at(docker_ground, count)


def _kill_at(ground: Ground, count: int) -> None:
    figures = Figures()
    scenario = ground.scenario()
    dead: list[str] = []
    with ground.neighbour() as live:
        times = moments(count, _lines_of(ground.run(scenario, "--credentials")))
        for number, moment in enumerate(times):
            command = ground.run(scenario, "--credentials")
            moment.come(command)
            command.process.kill()
            command.process.wait()
            if command.process.returncode != -signal.SIGKILL:
                assert command.process.returncode == 0, command.text
                figures.ended_before += 1
                assert ground.left(*ground.runs(command)) == []
                continue
            runs = ground.runs(command)
            figures.killed += 1
            figures.left.append(len(ground.left(*runs)))
            copies = [memory_root(run) for run in runs]
            gone = "copies of credentials are gone by themselves"
            ground.eventually(partial(_are_gone, copies), gone, slowed(5))
            stage = _stage(command)
            figures.stages[stage] = figures.stages.get(stage, 0) + 1
            dead += runs
            if number % 4 == 2:
                _see_it_end(ground, runs, figures)
            # Every second one is left to the run that starts next.
            if number % 2:
                ground.say("clean")
                assert ground.left(*dead) == [], f"{moment}: {stage}\n{command.text}"
        ground.figures(f"{ground.engine}: {figures}")
        last = ground.run(scenario, "--credentials")
        assert last.wait(300) == 0, last.text
        assert ground.left(*dead, last.run) == []
        for run in dead:
            assert list(ground.folder.glob(f"artifacts-*/{run}")), "artifacts stay"
        assert live.process.poll() is None
    assert figures.killed >= len(times) * 3 // 4, figures
    assert sorted(each.name for each in ground.temp.iterdir()) == sorted(
        each.name for each in ground.temp.glob("metta-*")
    )
    assert list(ground.leases.glob("*.json")) == []


def _are_gone(folders: list[Path]) -> bool:
    return not any(map(Path.exists, folders))


def _lines_of(undisturbed: Command) -> int:
    """Count what a run tells until its sweep is over."""
    assert undisturbed.wait(300) == 0, undisturbed.text
    steps = [str(each.get("step")) for each in _told(undisturbed)]
    return 1 + next(n for n, step in enumerate(steps) if step.startswith(_SWEEP_OVER))


def _see_it_end(ground: Ground, runs: list[str], figures: Figures) -> None:
    """Measure how long a killed run's processes (containers: until they have stopped) go on."""
    seconds = seconds_until(lambda: not ground.alive(*runs), 30.0)
    if seconds is None:
        figures.not_alone += 1
    else:
        figures.alone.append(seconds)


def seconds_until(holds: Callable[[], bool], patience: float) -> float | None:
    """Look until something is so, and return how long that took; None if it did not come."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > patience:
            return None
        time.sleep(0.05)
    return time.monotonic() - began


def _stage(command: Command) -> str:
    """Say what a run had last told of."""
    names = [str(each.get("event") or each.get("step") or "") for each in _told(command)]
    words = [name.partition(" ")[0].rstrip(":") for name in names if name and name != "api.request"]
    return words[-1] if words else "begin"


def _told(command: Command) -> list[dict[str, object]]:
    """Read a timeline whose last line may be written in half."""
    told = []
    for path in command.artifacts.glob("2*/tiny/timeline.jsonl"):
        for line in path.read_text().splitlines():
            try:
                told.append(json.loads(line))
            except ValueError:
                continue
    return told


def _until(command: Command, holds: Callable[[], bool]) -> None:
    while command.process.poll() is None and not holds():
        time.sleep(0.005)
