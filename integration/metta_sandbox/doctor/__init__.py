"""Can this machine play scenarios, and how to mend what can't."""

from __future__ import annotations

from collections.abc import Iterator

from metta_sandbox.doctor import judge_engine, judge_host
from metta_sandbox.doctor.item import Item, Report, Status
from metta_sandbox.doctor.look import Findings, look
from metta_sandbox.doctor.probe import Deadline
from metta_sandbox.doctor.show import show

__all__ = ["Item", "Report", "Status", "examine", "judge", "show"]

#: Seconds until the report is there, whatever does not answer.
PATIENCE = 4.5


def examine(patience: float = PATIENCE) -> Report:
    """Look at this machine, for so many seconds at the most, and judge it."""
    return judge(look(Deadline(patience)))


def judge(found: Findings) -> Report:
    """Judge a machine. Pure."""
    process = judge_host.plays_on_processes(found.python, found.packages)
    return Report(tuple(_items(found)), process)


def _items(found: Findings) -> Iterator[Item]:
    host, on = found.host, found.on_engine
    access = judge_engine.access(found.engine, on.endpoint, host)
    if access is not None:
        yield access
    yield judge_engine.engine(found.engine, host)
    yield judge_engine.architecture(on.info)
    yield judge_engine.compose(on.compose, host)
    yield judge_engine.buildkit(on.buildkit, on.images, host)
    yield judge_engine.disk(on.disk_free, on.images)
    yield judge_engine.memory(on.info)
    yield judge_engine.cgroup(on.info)
    yield judge_engine.shared_memory(on.inside)
    yield judge_engine.networks(on.networks)
    yield from judge_engine.features(on.inside, on.info, host)
    yield judge_engine.clock(on.info, host)
    yield judge_engine.base_image(on.images, on.registry, host)
    yield judge_engine.node_image(on.images)
    yield judge_host.packages(found.packages, on.images)
    yield judge_host.python(found.python, host)
    yield judge_host.stacks(found.stacks, host)
    yield judge_host.memory(found.memory)
