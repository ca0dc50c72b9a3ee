"""Faults of what a node has: what is asked of its engine, and what the kernel's counts prove."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from metta_sandbox.errors import StackError
from metta_sandbox.node.agent.oom_kills import oom_kills
from metta_sandbox.scenario.faults.kinds.cpu import CpuFault, ThrottleNode
from metta_sandbox.scenario.faults.kinds.out_of_memory import ExhaustMemory, OutOfMemoryFault

GIB = 1 << 30


class Container:
    """A node whose kernel counts in control groups of one version."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.limits: list[tuple[str, ...]] = []
        self.memory, self.quota = -1, -1
        self.kills = self.waited = self.reads = 0

    def limit(self, host: str, *limits: str) -> None:
        assert host == "sweep-worker"
        self.limits.append(limits)
        for each in limits:
            name, _, value = each.partition("=")
            self.memory = int(value) if name == "--memory" else self.memory
            self.quota = int(value) if name == "--cpu-quota" else self.quota

    def read(self, _host: str, *paths: str) -> str:
        self.reads += 1
        second = self.version == 2
        files = {
            "memory.current": f"{GIB}\n",
            "memory.usage_in_bytes": f"{GIB}\n",
            "memory.max": f"{'max' if self.memory < 0 else self.memory}\n",
            "memory.limit_in_bytes": f"{2**63 - 4096 if self.memory < 0 else self.memory}\n",
            "memory.events": f"low 0\noom 7\noom_kill {self.kills}\n",
            "memory.oom_control": f"oom_kill_disable 0\nunder_oom 0\noom_kill {self.kills}\n",
            "cpu.max": f"{'max' if self.quota < 0 else self.quota} 100000\n",
            "cpu.cfs_quota_us": f"{self.quota}\n",
            "cpu.stat": f"nr_periods 9\nnr_throttled {self.waited}\n",
        }
        return files[paths[0 if second else 1].rpartition("/")[2]]


def make(kind: Any, said: Any, container: Container) -> Any:
    orders: list[dict[str, Any]] = []

    def order(_rank: int, order: dict[str, Any], _patience: float) -> dict[str, Any]:
        orders.append(order)
        return {"main": "f, x.py:1"}

    context = SimpleNamespace(
        power=container, order=order, host_of=lambda _: "sweep-worker", orders=orders
    )
    return kind("f", said, context)


def killed(executor: Any, status: int = -9) -> None:
    executor.take({"type": "event", "record": {"event": "fault.happened", "fault": "f"}})
    executor.take({"type": "rank-exited", "rank": 1, "status": status})


@pytest.mark.parametrize("version", [1, 2])
def test_a_node_is_limited_to_what_it_uses_and_the_kernel_counts_its_kill(version: int) -> None:
    container = Container(version)
    fault = make(ExhaustMemory, OutOfMemoryFault(rank=1), container)
    assert fault.before().holds

    fault.inject()

    assert GIB < container.memory < 2 * GIB
    assert container.limits == [
        (f"--memory={container.memory}", f"--memory-swap={container.memory}")
    ]
    assert fault.context.orders[-1]["at_most"] == container.memory
    # Nothing is started on a node that has no memory left, as long as the rank lives.
    container.reads = 0
    assert not fault.during().holds
    assert container.reads == 0
    container.kills = 1
    killed(fault)
    assert fault.during().holds

    limit = container.memory
    fault.heal()
    assert fault.after().holds
    container.memory = limit
    assert not fault.after().holds


@pytest.mark.parametrize(("status", "kills"), [(-9, 0), (0, 1), (-15, 1)])
def test_one_that_anybody_else_ended_proves_nothing(status: int, kills: int) -> None:
    container = Container(1)
    fault = make(ExhaustMemory, OutOfMemoryFault(rank=1), container)
    fault.before()
    fault.inject()

    container.kills = kills
    killed(fault, status)

    assert not fault.during().holds


@pytest.mark.parametrize("version", [1, 2])
def test_a_node_is_throttled_when_it_was_made_to_wait(version: int) -> None:
    container = Container(version)
    fault = make(ThrottleNode, CpuFault(node="sweep-worker", share=0.25), container)
    assert fault.before().holds

    fault.inject()

    assert container.limits == [("--cpu-period=100000", "--cpu-quota=25000")]
    assert not fault.during().holds, "it had nothing to do yet"
    container.waited = 3
    observed = fault.during()
    assert observed.holds
    assert observed.seen == "sweep-worker gets 0.25 of a processor, and was made to wait 3 times"
    assert not fault.after().holds
    fault.heal()
    assert fault.after().holds


def test_a_kernel_that_says_nothing_of_it_proves_nothing() -> None:
    container = Container(1)
    container.read = lambda *_: "\n"  # type: ignore[method-assign]

    with pytest.raises(StackError, match="says nothing of oom_kill"):
        make(ExhaustMemory, OutOfMemoryFault(rank=1), container).before()


@pytest.mark.parametrize("name", ["memory.events", "memory/memory.oom_control"])
def test_agents_count_what_the_kernel_has_killed(tmp_path: Any, name: str) -> None:
    assert oom_kills(str(tmp_path)) is None
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("oom 3\noom_kill 2\n")

    assert oom_kills(str(tmp_path)) == 2
