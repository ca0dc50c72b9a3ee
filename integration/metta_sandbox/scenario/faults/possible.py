"""Faults that a scenario asks for and can never have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from metta_sandbox.scenario.base import Fault
from metta_sandbox.scenario.expect.records import EVENTS
from metta_sandbox.scenario.faults import (
    CodeFault,
    ControlFault,
    Corrupt,
    FaultItem,
    OtherOverrides,
    PortTaken,
    SignalFault,
    Trigger,
    names_of,
)
from metta_sandbox.scenario.names import API
from metta_sandbox.scenario.overrides import nearest
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


def _misplaced(fault: FaultItem, workload: Workload) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Find faults that what runs on the nodes does not let in."""
    said, key, trainer = fault.said, fault.key, workload.trainer
    in_code = isinstance(said, CodeFault) or (
        isinstance(said, SignalFault) and said.rank is not None
    )
    if in_code and (workload.run is not None or trainer.launcher == "own"):
        what = "workload.run" if workload.run is not None else "launcher: own"
        yield (key,), f"nothing can be put into ranks that {what} starts itself"
    if isinstance(said, Corrupt):
        if workload.run is not None:
            yield (key,), "workload.run has no trials that are known"
        elif fault.when is not None and fault.when.event is None:
            yield ("when",), "expected an event of a trial, such as checkpoint.saved"
    if isinstance(said, PortTaken) and said.port is None and fault.when and not fault.when.event:
        yield ("when",), "expected an event that has a port, as handoff.sent has; or port"
    if isinstance(said, OtherOverrides) and trainer.ranks_per_node > 1:
        yield (key, "rank"), "all ranks of a node are started with the same command"
    if isinstance(said, OtherOverrides) and trainer.overrides_style == "file":
        yield (key,), "all ranks read their overrides from one file"


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
        near = nearest(trigger.other, before)
        hint = f"; did you mean {near}?" if near else ""
        yield (key,), f"no fault before this one is called {trigger.other}{hint}"
    own = workload.run is not None
    if trigger.event and not own and workload.trainer.bundled and trigger.event not in EVENTS:
        near = nearest(trigger.event, EVENTS)
        yield ("event",), f"nobody emits it{f'; did you mean {near}?' if near else ''}"
    if trigger.event == STEP_OF_OPTIMIZER and (own or workload.trainer.launcher == "own"):
        yield ("event",), "nothing can be put into ranks that were not started by us"
    runs = sweep.trials * (1 + sweep.retries)
    if trigger.trial and not own and sweep.resume is None and trigger.trial > runs:
        yield ("trial",), f"there are {many(runs, 'run')} at most: sweep.trials is {sweep.trials}"
    if trigger is fault.until and _lacks_route(trigger, fault):
        yield ("call",), "expected route beside call"


def _lacks_route(trigger: Trigger, fault: FaultItem) -> bool:
    """Tell whether a trigger counts calls and nothing says of which route."""
    own = isinstance(fault.said, ControlFault) and fault.said.struck
    return trigger.call is not None and trigger.route is None and not own
