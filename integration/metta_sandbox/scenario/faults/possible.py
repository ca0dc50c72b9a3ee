"""Faults that a scenario asks for and can never have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from metta_sandbox.scenario.base import Fault
from metta_sandbox.scenario.expect.records import EVENTS, nearest_event
from metta_sandbox.scenario.faults import FaultItem, names_of
from metta_sandbox.scenario.faults.trigger import Trigger
from metta_sandbox.scenario.names import API
from metta_sandbox.scenario.overrides import instead
from metta_sandbox.scenario.search import Sweep
from metta_sandbox.scenario.workload import Workload
from metta_sandbox.words import many

#: Told by the launcher's injected code, whatever the trainer emits.
STEP_OF_OPTIMIZER = "optimizer.step"


def impossible_faults(
    faults: Sequence[FaultItem], hosts: Sequence[str], workload: Workload, sweep: Sweep
) -> Iterator[Fault]:
    """Find what can't be; each with the keys that lead to it from the list of faults.

    Args:
        faults: What the scenario asks for.
        hosts: Its nodes' host names.
        workload: What runs on them.
        sweep: How many trials there are.

    """
    own = workload.run is not None
    ranks = len(hosts) if own else len(hosts) * workload.trainer.ranks_per_node
    names = names_of(faults)
    for index, fault in enumerate(faults):
        before = names[:index]
        for path, text in _wrong(fault, hosts, ranks):
            yield (index, *path), text
        for path, text in _misplaced(fault, workload):
            yield (index, *path), text
        for key, trigger in (("when", fault.when), ("until", fault.until)):
            if trigger is not None:
                for path, text in _never(trigger, fault, hosts, ranks, before, workload, sweep):
                    yield (index, key, *path), text
        if names[index] in before:
            first = before.index(names[index])
            yield (index, "name"), f"{names[index]} is also the name of faults[{first}]"


def _wrong(
    fault: FaultItem, hosts: Sequence[str], ranks: int
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Find targets that are not there, and triggers where there is none or must be one."""
    said, key = fault.said, fault.key
    for path, host in said.hosts:
        if host not in (*hosts, API):
            yield (key, *path), f"there is no {host} among {many(len(hosts), 'node')}"
    if said.target_rank is not None and said.target_rank >= ranks:
        yield (key, "rank"), f"there is no rank {said.target_rank} among {many(ranks, 'rank')}"
    if fault.when is None and said.trigger == "must":
        yield (key,), "expected when beside it: what sets it off"
    if fault.when is not None and said.trigger == "none":
        yield ("when",), f"{key} has no trigger: it says itself when it is"
    if fault.until is not None and not said.heals:
        yield ("until",), f"{fault.said} can't be undone"
    if fault.until is not None and said.lasts is not None:
        yield ("until",), f"{key} says itself how long it lasts"
    if fault.when and _lacks_route(fault.when, fault):
        yield ("when", "call"), "expected route beside call"


def _misplaced(fault: FaultItem, workload: Workload) -> Iterator[Fault]:
    """Find faults that what runs on the nodes does not let in."""
    own = workload.run is not None
    if fault.said.target_rank is not None and (own or workload.trainer.launcher == "own"):
        what = "workload.run" if own else "launcher: own"
        yield (fault.key,), f"nothing can be put into ranks that {what} starts itself"
    yield from fault.said.misplaced(fault.when, workload)


def _never(
    trigger: Trigger,
    fault: FaultItem,
    hosts: Sequence[str],
    ranks: int,
    before: Sequence[str],
    workload: Workload,
    sweep: Sweep,
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Find triggers that can never come."""
    for key, host in (("node", trigger.node), ("on", trigger.on)):
        if host is not None and host not in (*hosts, "dummy-api"):
            yield (key,), f"there is no {host} among {many(len(hosts), 'node')}"
    if trigger.rank is not None and trigger.rank >= ranks:
        yield ("rank",), f"there is no rank {trigger.rank} among {many(ranks, 'rank')}"
    if trigger.other is not None and trigger.other not in before:
        key = "started" if trigger.started else "healed"
        meant = instead(trigger.other, before)
        yield (key,), f"no fault before this one is called {trigger.other}{meant}"
    own = workload.run is not None
    if trigger.event and not own and workload.trainer.bundled and trigger.event not in EVENTS:
        yield ("event",), f"nobody emits it{nearest_event(trigger.event)}"
    if trigger.event == STEP_OF_OPTIMIZER and (own or workload.trainer.launcher == "own"):
        yield ("event",), "nothing can be put into ranks that were not started by us"
    if trigger.trial and not own and sweep.resume is None and trigger.trial > sweep.runs:
        runs = many(sweep.runs, "run")
        yield ("trial",), f"there are {runs} at most: sweep.trials is {sweep.trials}"
    if trigger is fault.until and _lacks_route(trigger, fault):
        yield ("call",), "expected route beside call"


def _lacks_route(trigger: Trigger, fault: FaultItem) -> bool:
    """Tell whether a trigger counts calls and nothing says of which route."""
    return trigger.call is not None and trigger.route is None and not fault.said.struck
