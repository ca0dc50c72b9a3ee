"""A node's command that starts later, or that would have, had the sweep gone on without it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from metta_sandbox.errors import StackError
from metta_sandbox.faults.conductor import Conductor
from metta_sandbox.scenario.loading import parse

FAULT = "version: 1\nname: x\nfaults:\n  - {late_start: {node: sweep-worker, by: %s}}\n"


class Ground:
    """Stands for a stack whose command runs on these nodes."""

    def __init__(self, by: str, *running: str) -> None:
        self.scenario = parse(FAULT % by, Path("x.yaml"))
        self.plan = self
        self.hosts = self.scenario.hosts
        self.running = list(running)

    def arm(self, _arms: object) -> None:
        """Nothing is waited for."""

    def group(self, host: str, _name: str) -> object:
        if host not in self.running:
            raise StackError("no such group")
        return {}

    def start_on(self, host: str) -> None:
        self.running.append(host)


class Timeline:
    """Keeps what was done about faults."""

    def __init__(self) -> None:
        self.actions: list[str] = []

    def fault(self, _name: str, action: str, **_: Any) -> None:
        self.actions.append(action)


def conducted(ground: Ground) -> tuple[Conductor, Timeline]:
    timeline = Timeline()
    conductor = Conductor(ground, timeline, lambda _: None)  # type: ignore[arg-type]
    conductor.prepare()
    conductor.began()
    return conductor, timeline


def test_it_starts_so_much_later_and_is_seen_not_to_run_and_to_run() -> None:
    ground = Ground("10ms", "sweep-master")
    conductor, _ = conducted(ground)
    time.sleep(max(0.0, conductor.due - time.monotonic()))
    conductor.act()
    conductor.heal()
    ((result,), _) = conductor.conclude()
    assert result.proven
    assert ground.running == ["sweep-master", "sweep-worker"]
    assert "10 ms after the start it runs on sweep-master, and not on sweep-worker" in result.proof


def test_one_that_was_to_start_after_the_sweeps_end_was_missing_till_then() -> None:
    ground = Ground("10m", "sweep-master")
    conductor, timeline = conducted(ground)
    conductor.heal()
    ((result,), _) = conductor.conclude()
    assert (result.fired, result.proven) == (True, True)
    assert ground.running == ["sweep-master"]
    assert "at the sweep's end it runs on sweep-master, and not on sweep-worker" in result.proof
    assert timeline.actions == ["struck"]


def test_of_a_sweep_that_ran_nowhere_nothing_is_proven() -> None:
    conductor, _ = conducted(Ground("10m"))
    conductor.heal()
    ((result,), _) = conductor.conclude()
    assert (result.fired, result.proven) == (True, False)
