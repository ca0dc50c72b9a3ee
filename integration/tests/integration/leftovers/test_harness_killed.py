"""A harness that is killed at any moment leaves nothing once the next one has started."""

from __future__ import annotations

import json
import signal
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Ground
    from running import Command

#: Seconds from the start of a command until its trial is over, on two cores.
_LIFE = 10.0
#: A run that is over ends its stack within these many seconds.
_END = {"process": 1.0, "compose": 3.5}


@dataclass(frozen=True)
class Moment:
    """When a harness is killed: some seconds after its start, or after its sweep is over."""

    seconds: float
    late: bool = False

    def come(self, command: Command) -> None:
        """Wait for it, or for the end of the run."""
        if self.late:
            _until(
                command, lambda: any("sweep: " in str(each.get("step")) for each in _told(command))
            )
        began = time.monotonic() if self.late else command.began
        _until(command, lambda: time.monotonic() - began >= self.seconds)


def moments(count: int, engine: str) -> list[Moment]:
    """Spread moments over a run's life, closer at its beginning and its end."""
    first, final = count // 4, max(1, count // 6)
    early = [Moment(1.2 * (number + 0.2) / first) for number in range(first)]
    late = [Moment(_END[engine] * (number + 0.2) / final, late=True) for number in range(final)]
    rest = count - len(early) - len(late)
    return [*early, *(Moment(1.2 + _LIFE * (n + 0.5) / rest) for n in range(rest)), *late]


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
    [12, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(5400)])],
)
def test_on_local_processes(ground: Ground, count: int) -> None:
    ground.say("up", "--engine", "process")
    try:
        _kill_at(ground, moments(count, "process"))
        ground.say("status")  # which is an error unless all of it is well
    finally:
        ground.say("stop")


@pytest.mark.parametrize(
    "count",
    [4, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])],
)
def test_on_containers(docker_ground: Ground, count: int) -> None:
    _kill_at(docker_ground, moments(count, "compose"))


def _kill_at(ground: Ground, times: list[Moment]) -> None:
    figures = Figures()
    scenario = ground.scenario()
    dead: list[str] = []
    last: Command | None = None
    with ground.neighbour() as live:
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
