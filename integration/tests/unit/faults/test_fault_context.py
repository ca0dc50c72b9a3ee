"""What faults are carried out on: whose answers are waited for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from metta_sandbox.faults.context import FaultContext
from metta_sandbox.scenario.faults.kinds.pause import PauseFault, PauseNode

HOSTS = ("sweep-master", "sweep-worker")


class Link:
    """Notes who was asked, and whose answers were waited for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.waited: list[str] = []

    def ask(self, host: str, verb: str, **_: Any) -> str:
        assert verb == "arm"
        self.asked.append(host)
        return host

    def result(self, _: str, host: str, *_how: Any) -> None:
        self.waited.append(host)


class Power:
    """Lets nodes stand still."""

    def __init__(self) -> None:
        self.states = dict.fromkeys(HOSTS, "runs")

    def state(self, host: str) -> str:
        return self.states[host]

    def freeze(self, host: str) -> None:
        self.states[host] = "stands still"

    def thaw(self, host: str) -> None:
        self.states[host] = "runs"


def test_nobody_waits_for_a_node_that_stands_still_to_be_armed() -> None:
    link: Any = Link()
    plan: Any = SimpleNamespace(hosts=HOSTS)
    nothing: Any = None
    context = FaultContext(nothing, plan, link, power=Power(), start_on=print)  # type: ignore[arg-type]
    pause = PauseNode("f", PauseFault(node="sweep-worker"), context)

    pause.inject()
    context.arm([])
    assert link.asked == [*HOSTS, "dummy-api"]
    assert link.waited == ["sweep-master", "dummy-api"]

    pause.heal()
    context.arm([])
    assert link.waited[2:] == [*HOSTS, "dummy-api"]
