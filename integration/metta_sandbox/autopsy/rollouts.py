"""Causes that lie with the nodes' commands: the rollouts, or what a user runs in their place."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence

from metta_sandbox.autopsy.calls import AT_WORK, Doing, own_frame, reading
from metta_sandbox.autopsy.case import Case
from metta_sandbox.autopsy.cause import Cause, Certainty, Kind, WaitingRank
from metta_sandbox.autopsy.kinds import (
    API,
    LEFT_ALONE,
    TIMED_OUT,
    TOLD_TO_END,
    TRACKER,
    kind_of,
    what_holds,
)
from metta_sandbox.autopsy.sentences import cause_of
from metta_sandbox.autopsy.words import Exc
from metta_sandbox.stack.ends import describe_end

#: What torchrun raises of a signal that was meant for it.
_SIGNALLED = re.compile(r"\bSignalException: Process \d+ got signal: ([12]\d|[1-9])\b")
#: Where our own rollout trains.
_TRAINS = re.compile(r"metta_sandbox/node/trial\.py$")
#: A process that imports torch before a rollout is forked from it.
_TEMPLATE = re.compile(r"\.pyz template\b")


def rollout_died(case: Case) -> Cause | None:
    """Find the first command that failed by itself."""
    failed = [(when, host, status) for host, (status, when) in case.commands.items() if status]
    if not failed:
        return None
    failed.sort(key=lambda one: (_rollout_left_alone(case, one[1], one[2]), one[0]))
    if _rollout_left_alone(case, failed[0][1], failed[0][2]):
        # Who has left it may have said why, and not have ended yet.
        failed[:0] = _about_to_end(case)
    _, host, status = failed[0]
    error = case.rollout_errors.get(host)
    rank = case.hosts.index(host)
    if error is not None and error.kind and _rollout_left_alone(case, host, status):
        return rollout_hangs(case) or _left_early(case) or _gave_up(case, host, error)
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
    if signalled := _SIGNALLED.search(str(error)):
        told = signal.Signals(int(signalled[1])).name
        sentence = f"the command of rank {rank} ({host}) was told to end by {told}, and did so"
        return cause_of(case, "process died", sentence, node=host, rank=rank)
    kind = kind_of(error)
    if kind == "exception" and TRACKER.search(str(error)):
        kind = "tracker failed"
    elif kind in {"exception", "peer unreachable"} and API.search(str(error)):
        kind = "API slow" if TIMED_OUT.search(str(error)) else "API refused"
    elif kind == "exception" and not error.kind:
        kind = "process died"
    what = f"raised {error}" if error.kind else describe_end(status, str(error))
    sentence = f"the command of rank {rank} ({host}) {what}{error.in_site}"
    return cause_of(case, kind, sentence, node=host, rank=rank, call=error.place)


def _left_early(case: Case) -> Cause | None:
    """Find the command that ended as if all were well, and was not at its end."""
    left = [
        (ended, host)
        for host, (status, ended) in case.commands.items()
        if not status and host not in case.at_their_end
    ]
    if not left or case.script:
        return None
    _, host = min(left)
    rank = case.hosts.index(host)
    sentence = (
        f"the command of rank {rank} ({host}) exited with status 0 before the sweep was over, "
        "as code in it may do (sys.exit, os._exit)"
    )
    return cause_of(case, "process died", sentence, node=host, rank=rank)


def _gave_up(case: Case, host: str, error: Exc) -> Cause:
    """Say of a command that it waited in vain, where nothing tells for whom."""
    rank = case.hosts.index(host)
    return cause_of(
        case,
        kind_of(error),
        f"the command of rank {rank} ({host}) gave up waiting for others: {error}{error.in_site}",
        node=host,
        call=error.place,
        certainty="unknown",
        evidence=("exit status",),
    )


def _about_to_end(case: Case) -> list[tuple[float, str, int]]:
    """Find commands that have not ended, and have told of an error of their own."""
    return [
        (0.0, host, 1)
        for host, error in case.rollout_errors.items()
        if error.kind and host not in case.commands and not _rollout_left_alone(case, host, 1)
    ]


def rollout_broke(case: Case) -> Cause | None:
    """Find a command that ended of an error of its own, whatever its ranks and others wait for."""
    if case.script:
        # What a user's command prints is what its ranks print.
        return None
    for host, (status, _) in case.commands.items():
        error = case.rollout_errors.get(host)
        by_itself = status > 0 and error is not None and error.kind
        if by_itself and not _rollout_left_alone(case, host, status):
            return rollout_died(case)
    return None


def _rollout_left_alone(case: Case, host: str, status: int) -> bool:
    said = str(case.rollout_errors.get(host, ""))
    if status in TOLD_TO_END or LEFT_ALONE.search(said):
        return True
    # Who waits for the control plane in vain was not left alone by another node.
    return bool(TIMED_OUT.search(said)) and not API.search(said)


def rollout_hangs(case: Case) -> Cause | None:
    """Find the command that does not come to where the others wait."""
    if (starting := _not_begun(case)) is not None or not case.rollouts:
        return starting
    guilty = [(host, call) for host, call in case.rollouts.items() if not call.waits_for_others]
    if not guilty:
        return _rollout_absent(case)
    # Who works or starts gets on; of several, who hangs comes first.
    guilty.sort(key=lambda one: one[1].doing in AT_WORK)
    hosts = [host for host, _ in guilty]
    if (gone := _program_gone(case, hosts) or _program_failed(case, hosts)) is not None:
        return gone
    host, call = guilty[0]
    kind, what = what_holds(call)
    rank = case.hosts.index(host)
    waiting = tuple(
        WaitingRank(rank=case.hosts.index(other), call=str(at))
        for other, at in case.rollouts.items()
        if at.waits_for_others
    ) + tuple(
        WaitingRank(rank=case.hosts.index(other), call=error.site, left=True)
        for other, (status, _) in case.commands.items()
        if (error := case.rollout_errors.get(other))
        and error.place
        and _rollout_left_alone(case, other, status)
    )
    if _waits_for_its_ranks(case, host):
        what = f"waits for its ranks, of which nothing was seen, at {call.place}"
        sure: Certainty = "unknown"
    elif call.doing in AT_WORK or call.doing is Doing.UNKNOWN:
        sure = "likely" if waiting and len(guilty) == 1 else "unknown"
    elif any(one.left for one in waiting):
        # Who gave up may have waited for somebody who has come meanwhile.
        sure = "likely"
    else:
        sure = "certain"
    return cause_of(
        case,
        kind,
        f"the rollout of rank {rank} ({host}) {what}",
        node=host,
        rank=None if sure == "unknown" else rank,
        call=str(call),
        waiting=waiting,
        certainty=sure,
        evidence=("stack",),
    )


def _not_begun(case: Case) -> Cause | None:
    """Find a rollout that was not forked yet, as the template process still imports."""
    for rank, host in enumerate(case.hosts):
        if host in case.rollouts or host in case.commands or host not in case.looks:
            continue
        for process in case.looks[host].processes:
            call = reading(process)
            if _TEMPLATE.search(" ".join(process.command)) and call.doing in AT_WORK:
                kind, what = what_holds(call)
                return cause_of(
                    case,
                    kind,
                    f"the rollout of rank {rank} ({host}) has not begun: "
                    f"the template process that it is forked from {what}",
                    node=host,
                    rank=rank,
                    call=str(call),
                    certainty="likely",
                    evidence=("stack",),
                )
    return None


def _waits_for_its_ranks(case: Case, host: str) -> bool:
    """Tell whether our own rollout waits for the ranks that it has started."""
    frame = own_frame(case.rollout_processes[host].main)
    return frame is not None and bool(_TRAINS.search(frame.file))


def _program_gone(case: Case, hosts: Sequence[str]) -> Cause | None:
    """Find a node on which a program is not there any more that waits for others elsewhere."""
    waiting = [
        (host, process, case.rollouts[host])
        for host, process in case.rollout_processes.items()
        if case.rollouts[host].waits_for_others and process.program
    ]
    for host in hosts:
        there = {one.program for one in case.looks[host].programs}
        absent = next((one for _, one, _ in waiting if one.program not in there), None)
        if absent is None:
            continue
        rank, error = case.hosts.index(host), case.rollout_errors.get(host)
        raised = error is not None and error.kind
        kind = kind_of(error) if error is not None and raised else "process died"
        how = f"raised {error} and " if raised else ""
        told = tuple(
            WaitingRank(rank=case.hosts.index(one), call=str(at)) for one, _, at in waiting
        )
        what = (
            f"{absent.program} of rank {rank} ({host}) {how}is not there any more, "
            f"while its command goes on, in {case.rollouts[host]}"
        )
        call = error.place if error is not None and raised else ""
        return cause_of(case, kind, what, node=host, rank=rank, call=call, waiting=told)
    return None


def _program_failed(case: Case, hosts: Sequence[str]) -> Cause | None:
    """Find a program that failed, and without which a command of the user's goes on."""
    said = {
        host: error for host in hosts if (error := case.rollout_errors.get(host)) and error.kind
    }
    left = [host for host, error in said.items() if LEFT_ALONE.search(str(error))]
    own = next((host for host in said if host not in left), None)
    silent = next((host for host in hosts if host not in said), None)
    host = own or (silent if left else None)
    if host is None:
        return None
    rank, goes_on = case.hosts.index(host), f"while its command goes on, in {case.rollouts[host]}"
    waiting = tuple(
        WaitingRank(rank=case.hosts.index(one), call=said[one].place, left=True)
        for one in left
        if said[one].place
    )
    error = said.get(host)
    if error is None:
        what = f"a program of rank {rank} ({host}) is not there any more, {goes_on}"
        kind: Kind = "process died"
        call = ""
    else:
        what = f"a program of rank {rank} ({host}) raised {error}{error.in_site}, {goes_on}"
        kind, call = kind_of(error), error.place
    return cause_of(case, kind, what, node=host, rank=rank, call=call, waiting=waiting)


def _rollout_absent(case: Case) -> Cause | None:
    """Find a node whose command is not there, while others wait for it."""
    for rank, host in enumerate(case.hosts):
        if host in case.rollouts or host in case.commands or host not in case.looks:
            continue
        told = [f"rank {case.hosts.index(one)} waits in {at}" for one, at in case.rollouts.items()]
        what = f"the command of rank {rank} ({host}) is not there; {', '.join(told)}"
        return cause_of(case, "rank missing at rendezvous", what, node=host, rank=rank)
    return None
