"""A node's command that starts later, or that would have, had the sweep gone on without it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from metta_sandbox.errors import StackError
from metta_sandbox.faults.scheduler import FaultScheduler
from metta_sandbox.scenario.loading import parse

FAULT = "version: 1\nname: x\nfaults:\n  - {late_start: {node: sweep-worker, by: %s}}\n"


class FaultContext:
    """Stands for a stack whose command runs on these nodes."""

    def __init__(self, by: str, *running: str) -> None:
        self.scenario = parse(FAULT % by, Path("x.yaml"))
        self.plan = self
        self.hosts = self.scenario.hosts
        self.running = list(running)

    def arm(self, _arms: object) -> None:
        """Nothing is waited for."""

    def command(self, host: str) -> object:
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


def conducted(context: FaultContext) -> tuple[FaultScheduler, Timeline]:
    timeline = Timeline()
    scheduler = FaultScheduler(context, timeline, lambda _: None)  # type: ignore[arg-type]
    scheduler.prepare()
    scheduler.began()
    return scheduler, timeline


def test_it_starts_so_much_later_and_is_seen_not_to_run_and_to_run() -> None:
    context = FaultContext("10ms", "sweep-master")
    scheduler, _ = conducted(context)
    time.sleep(max(0.0, scheduler.due - time.monotonic()))
    scheduler.act()
    scheduler.heal()
    ((result,), _) = scheduler.conclude()
    assert result.proven
    assert context.running == ["sweep-master", "sweep-worker"]
    assert "10 ms after the start it runs on sweep-master, and not on sweep-worker" in result.proof


def test_one_that_was_to_start_after_the_sweeps_end_was_missing_till_then() -> None:
    context = FaultContext("10m", "sweep-master")
    scheduler, timeline = conducted(context)
    scheduler.heal()
    ((result,), _) = scheduler.conclude()
    assert (result.fired, result.proven) == (True, True)
    assert context.running == ["sweep-master"]
    assert "at the sweep's end it runs on sweep-master, and not on sweep-worker" in result.proof
    assert timeline.actions == ["struck"]


def test_of_a_sweep_that_ran_nowhere_nothing_is_proven() -> None:
    scheduler, _ = conducted(FaultContext("10m"))
    scheduler.heal()
    ((result,), _) = scheduler.conclude()
    assert (result.fired, result.proven) == (True, False)
