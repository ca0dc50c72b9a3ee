"""Causes that lie with a node: it is gone, shows nothing, or had other orders than the others."""

from __future__ import annotations

import re
from collections.abc import Collection

from metta_sandbox.autopsy.case import Case
from metta_sandbox.autopsy.cause import Cause
from metta_sandbox.autopsy.sentences import cause_of
from metta_sandbox.node.agent.events import Name

#: What is said of a node whose agent has ended, or is about to, and kills all that it has started.
_NODE_GONE = re.compile(
    r"is gone: |no agent of node|is lost$|agent is gone|agent ends|ended with status -(9|15)$"
)

#: What is said of a node that has begun to look at its processes, and so does not stand still.
_TOO_SLOW = re.compile(r"not done within ")


def node_lost(case: Case) -> Cause | None:
    """Find a node that is gone, and how it ended."""
    lost = next((host for host in case.hosts if host in case.fallen), None)
    if lost is None:
        return None
    ranks = [one for one in case.members if one.node == lost] if case.begun else []
    step = max((one.step for one in ranks if one.step is not None), default=None)
    memory = "out of memory" in case.fallen[lost]
    return cause_of(
        case,
        "killed by the kernel" if memory else "node lost",
        f"{lost} {case.fallen[lost]}",
        node=lost,
        rank=ranks[0].rank if ranks else None,
        step=step,
    )


def node_silent(case: Case) -> Cause | None:
    """Find a node that shows nothing, while others do."""
    silent = [host for host, look in case.looks.items() if look.problem]
    if not silent or len(silent) == len(case.looks):
        return None
    host = silent[0]
    ranks = [one for one in case.members if one.node == host]
    rank = ranks[0].rank
    problem = case.looks[host].problem
    if _NODE_GONE.search(problem):
        how = problem.removeprefix(f"{host} is gone: ")
        what = f"{host} (rank {rank}) is gone: {how}"
        return cause_of(case, "node lost", what, node=host, rank=rank, step=ranks[0].step)
    if _TOO_SLOW.match(problem):
        what = f"{host} did not show its processes in time; the machine's load was {case.load:.0f}"
        return cause_of(case, "straggler", what, node=host, certainty="unknown")
    what = f"{host} (rank {rank}) does not answer, as if it stood still: {problem}"
    return cause_of(case, "stopped", what, node=host, rank=rank, step=ranks[0].step)


#: What nodes tell of a trial's overrides, the later the nearer to what its ranks had.
_HANDED: Collection[Name] = ("handoff.received", "trial.launched")


def different_overrides(case: Case) -> Cause | None:
    """Find a node whose ranks were started with other overrides than rank 0."""
    handed = {
        str(event.get("node")): event.get("overrides")
        for event in case.events
        if event.name in _HANDED and event.get("trial") == case.trial
    }
    expected = handed.get(case.hosts[0])
    for host in case.hosts[1:]:
        if expected is None or host not in handed or handed[host] == expected:
            continue
        got = handed[host] or {}
        keys = sorted(
            key for key in {*expected, *got} if expected.get(key, None) != got.get(key, None)
        )
        told = ", ".join(f"{key} {got.get(key)} instead of {expected.get(key)}" for key in keys)
        rank = case.hosts.index(host) * case.ranks_per_node
        what = f"rank {rank} ({host}) had other overrides than rank 0: {told}"
        return cause_of(case, "different overrides", what, node=host, rank=rank)
    return None


def name_again(case: Case) -> Cause | None:
    """Find an earlier trial of the same run name, whose files the trial met."""
    trials: dict[str, int] = {}
    for event in case.events:
        if event.name != "run.named":
            continue
        run, trial = str(event.get("run")), int(event.get("trial"))
        first = trials.setdefault(run, trial)
        if first != trial == case.trial:
            what = f"the control plane gave the run name {run} again, which trial {first} has"
            return cause_of(case, "run name repeated", what, node=case.hosts[0], rank=0)
    return None
