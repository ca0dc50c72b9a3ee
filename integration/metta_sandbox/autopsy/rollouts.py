"""Causes that lie with the nodes' commands: the rollouts, or what a user runs in their place."""

from __future__ import annotations

import signal

from metta_sandbox.autopsy.case import Case
from metta_sandbox.autopsy.cause import Cause, Waiting
from metta_sandbox.autopsy.kinds import (
    API,
    LEFT_ALONE,
    TIMED_OUT,
    TOLD_TO_END,
    TRACKER,
    kind_of,
    what_holds,
)
from metta_sandbox.autopsy.sentences import cause_of, in_trial, told_of
from metta_sandbox.stack.ends import describe_end


def rollout_died(case: Case) -> Cause | None:
    """Find the first command that failed by itself."""
    failed = [(when, host, status) for host, (status, when) in case.commands.items() if status]
    if not failed:
        return None
    failed.sort(key=lambda one: (_rollout_left_alone(case, one[1], one[2]), one[0]))
    _, host, status = failed[0]
    error = case.rollout_errors.get(host)
    rank = case.hosts.index(host)
    if error is None or status < 0 or not str(error):
        look = case.looks.get(host)
        if status == -signal.SIGKILL and look is not None and look.oom_kills:
            return cause_of(
                case,
                "killed by the kernel",
                f"the command of rank {rank} ({host}) was killed by the kernel, out of memory",
                node=host,
                rank=rank,
            )
        sentence = f"the command of rank {rank} ({host}) {describe_end(status)}"
        return cause_of(case, "process died", sentence, node=host, rank=rank)
    kind = kind_of(error)
    if kind == "exception" and TRACKER.search(str(error)):
        kind = "tracker failed"
    elif kind == "exception" and API.search(str(error)):
        kind = "API slow" if TIMED_OUT.search(str(error)) else "API refused"
    elif kind == "exception" and not error.kind:
        kind = "process died"
    place = f" in `{error.function}`, {error.place}" if error.place else ""
    what = f"raised {error}" if error.kind else describe_end(status, str(error))
    sentence = f"the command of rank {rank} ({host}) {what}{place}"
    return cause_of(case, kind, sentence, node=host, rank=rank, call=error.place)


def _rollout_left_alone(case: Case, host: str, status: int) -> bool:
    said = str(case.rollout_errors.get(host, ""))
    if status in TOLD_TO_END or LEFT_ALONE.search(said):
        return True
    # Who waits for the control plane in vain was not left alone by another node.
    return bool(TIMED_OUT.search(said)) and not API.search(said)


def rollout_hangs(case: Case) -> Cause | None:
    """Find the command that does not come to where the others wait."""
    if not case.rollouts:
        return None
    guilty = [(host, call) for host, call in case.rollouts.items() if not call.waits_for_others]
    if not guilty:
        return _rollout_absent(case)
    host, call = guilty[0]
    kind, what = what_holds(call)
    rank = case.hosts.index(host)
    waiting = tuple(
        Waiting(rank=case.hosts.index(other), call=str(at))
        for other, at in case.rollouts.items()
        if at.waits_for_others
    )
    sentence = f"the rollout of rank {rank} ({host}) {what}{in_trial(case, None)}{told_of(waiting)}"
    return Cause(
        kind=kind,
        sentence=sentence,
        node=host,
        rank=rank,
        trial=case.trial,
        call=str(call),
        waiting=waiting,
    )


def _rollout_absent(case: Case) -> Cause | None:
    """Find a node whose command is not there, while others wait for it."""
    for rank, host in enumerate(case.hosts):
        if host in case.rollouts or host in case.commands or host not in case.looks:
            continue
        told = [f"rank {case.hosts.index(one)} waits in {at}" for one, at in case.rollouts.items()]
        what = f"the command of rank {rank} ({host}) is not there; {', '.join(told)}"
        return cause_of(case, "rank missing at rendezvous", what, node=host, rank=rank)
    return None
