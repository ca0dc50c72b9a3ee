"""From what was seen to one sentence: what happened first, to whom, and who waits for whom.

Each look at the case answers one question, in the order in which causes hide each other: who is
gone, who died by itself, who does not come to where the others wait.
"""

from __future__ import annotations

import math
import re
import signal
from collections import Counter
from collections.abc import Callable, Sequence

from metta_sandbox.autopsy.calls import Doing
from metta_sandbox.autopsy.case import Case, Member
from metta_sandbox.autopsy.cause import Cause, Kind
from metta_sandbox.autopsy.kinds import LEFT_ALONE, TOLD_TO_END, TRACKER, kind_of, what_holds
from metta_sandbox.autopsy.meeting import cannot_reach, launcher_failed
from metta_sandbox.autopsy.rollouts import rollout_broke, rollout_died, rollout_hangs
from metta_sandbox.autopsy.sentences import cause_of, of_rank
from metta_sandbox.autopsy.sequences import collectives_differ
from metta_sandbox.autopsy.words import Exc
from metta_sandbox.stack.ends import describe_end

#: What is said of a node whose agent has ended, or is about to, and kills all that it has started.
_NODE_GONE = re.compile(
    r"no agent of node|is lost$|agent is gone|agent ends|ended with status -(9|15)$"
)


def diagnose(case: Case) -> Cause | None:
    """Name the cause, or None if nothing of what is known points to one."""
    looks: tuple[Callable[[Case], Cause | None], ...] = (
        _node_lost,
        _node_silent,
        _different_overrides,
        _name_again,
        launcher_failed,
        collectives_differ,
        _rank_died,
        _no_number,
        rollout_broke,
        cannot_reach,
        _rank_hangs,
        _not_scored,
        rollout_died,
        rollout_hangs,
    )
    return next((cause for look in looks if (cause := look(case)) is not None), None)


# -- somebody is gone ---------------------------------------------------------------------------


def _node_lost(case: Case) -> Cause | None:
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


def _node_silent(case: Case) -> Cause | None:
    """Find a node that shows nothing, while others do."""
    silent = [host for host, look in case.looks.items() if look.problem]
    if not silent or len(silent) == len(case.looks):
        return None
    host = silent[0]
    ranks = [one for one in case.members if one.node == host]
    rank = ranks[0].rank
    problem = case.looks[host].problem
    if _NODE_GONE.search(problem):
        what = f"{host} (rank {rank}) is gone: {problem}"
        return cause_of(case, "node lost", what, node=host, rank=rank, step=ranks[0].step)
    what = f"{host} (rank {rank}) does not answer, as if it stood still: {problem}"
    return cause_of(case, "stopped", what, node=host, rank=rank, step=ranks[0].step)


#: What nodes tell of a trial's overrides, the later the nearer to what its ranks had.
_HANDED = ("handoff.received", "trial.launched")


def _different_overrides(case: Case) -> Cause | None:
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


def _name_again(case: Case) -> Cause | None:
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


def _rank_died(case: Case) -> Cause | None:
    failed = [one for one in case.members if one.status not in (None, 0)]
    if not failed:
        return None
    # What failed by itself comes before what was left alone by it.
    first = min(failed, key=lambda one: (_is_left_alone(case, one), one.ended or 0.0))
    if _is_left_alone(case, first):
        other = rollout_broke(case) or _rank_hangs(case) or _left_early(case)
        if other is not None:
            return other
    kind, what, call = _death(case, first)
    if kind == "rank missing at rendezvous" and (absent := _absent(case)) is not None:
        return absent
    if first.error is not None and all(_has_ended_left_alone(case, one) for one in case.members):
        # Nobody failed by itself: what they lost is what was between them.
        kind, what = "peer unreachable", f"lost a peer that had not ended: it {what}"
    return of_rank(case, first, kind, what, call)


def _left_early(case: Case) -> Cause | None:
    """Find who ended well while others still waited for it."""
    for one in case.members:
        if one.status == 0:
            what = "ended with status 0 while others still needed it"
            return of_rank(case, one, "collective mismatch", what)
    return None


def _has_ended_left_alone(case: Case, member: Member) -> bool:
    if member.status is None:
        # With a node's command, whatever it has started is killed.
        return member.node in case.commands
    return _is_left_alone(case, member)


def _is_left_alone(case: Case, member: Member) -> bool:
    if member.status in TOLD_TO_END:
        return True
    if member.status == -signal.SIGKILL and not member.out_of_memory:
        _, ended = case.commands.get(member.node, (0, math.inf))
        return (member.ended or 0.0) >= ended
    return member.error is not None and bool(LEFT_ALONE.search(str(member.error)))


def _death(case: Case, member: Member) -> tuple[Kind, str, str]:
    assert member.status is not None
    look = case.looks.get(member.node)
    if member.status == -signal.SIGKILL:
        if member.out_of_memory or (look is not None and look.oom_kills):
            return "killed by the kernel", "was killed by the kernel, out of memory", ""
        return "process died", "was killed by signal 9 (SIGKILL)", ""
    error = member.error
    if member.status < 0:
        name = signal.Signals(-member.status).name
        what = f"was killed by signal {-member.status} ({name})"
        # One that aborts has said why; of any other signal it knew nothing when it spoke last.
        kind = kind_of(error) if error and member.status == -signal.SIGABRT else "exception"
        if error is None or kind == "exception":
            return "process died", what, ""
        return kind, f"{what}, saying: {error}", ""
    if error is None or not error.kind:
        # Its last words are no traceback, and may be about anything.
        said = str(error) if error else ""
        kind = kind_of(error) if error else "exception"
        died = kind == "exception"
        return "process died" if died else kind, describe_end(member.status, said), ""
    place = f"`{error.function}`, {error.place}" if error.place else ""
    return kind_of(error), f"raised {error}", place


def _absent(case: Case) -> Cause | None:
    for one in case.members:
        if one.process is None and one.status is None:
            return of_rank(case, one, "rank missing at rendezvous", "never came to the rendezvous")
    return None


def _no_number(case: Case) -> Cause | None:
    told = [
        event
        for event in case.events
        if event.name == "train.step"
        and event.get("trial") == case.trial
        and _is_no_number(event.get("loss", 0.0))
    ]
    if not told:
        return None
    # Another rank is lost one step later, which may be heard sooner.
    first = min(told, key=lambda event: int(event.get("step") or 0))
    member = next(one for one in case.members if one.rank == first.get("rank"))
    step = first.get("step")
    what = f"rank {member.rank} ({member.node}) had no number for a loss at train.step {step}"
    return cause_of(case, "NaN", what, node=member.node, rank=member.rank, step=step)


def _is_no_number(loss: object) -> bool:
    return loss is None or (isinstance(loss, float) and math.isnan(loss))


def _not_scored(case: Case) -> Cause | None:
    """Find why a trial failed that all ranks trained to its end."""
    reasons = [
        str(event.get("reason"))
        for event in case.events
        if event.name == "observation.recorded"
        and event.get("trial") == case.trial
        and event.get("failed")
    ]
    if not reasons or any(one.status != 0 for one in case.members):
        return None
    error = Exc("", reasons[-1])
    kind = "tracker failed" if TRACKER.search(error.message) else kind_of(error)
    what = f"all ranks ended well, and rank 0 ({case.hosts[0]}) could not conclude: {error}"
    return cause_of(case, kind, what, node=case.hosts[0], rank=0)


# -- somebody does not come ---------------------------------------------------------------------


def _rank_hangs(case: Case) -> Cause | None:
    alive = [one for one in case.members if one.alive and one.call is not None]
    if not alive or not case.begun:
        return None
    missing = [one for one in case.members if one.alive and one.process is None]
    guilty = [one for one in alive if one.call and not one.call.waits_for_others]
    if guilty:
        return _guilty(case, min(guilty, key=_suspicion))
    if (early := _left_early(case)) is not None:
        return early
    if missing:
        return of_rank(case, missing[0], "rank missing at rendezvous", "is not there")
    return _all_wait(case, alive)


def _suspicion(member: Member) -> tuple[int, int]:
    order = (
        Doing.STOPPED,
        Doing.LOCK,
        Doing.GIL,
        Doing.IDLE,
        Doing.API,
        Doing.TRACKER,
        Doing.BUSY,
        Doing.UNKNOWN,
    )
    assert member.call is not None
    return order.index(member.call.doing), member.rank


def _guilty(case: Case, member: Member) -> Cause:
    call = member.call
    assert call is not None
    kind, what = what_holds(call)
    return of_rank(case, member, kind, what, str(call))


def _all_wait(case: Case, alive: Sequence[Member]) -> Cause:
    def where(one: Member) -> tuple[str, str]:
        assert one.call is not None
        return one.call.name, one.call.place

    places = Counter(where(one) for one in alive)
    if len(places) > 1:
        common = max(places.values())
        # Of two, it is the one that is ahead, as it has left something out.
        odd = min(alive, key=lambda one: (places[where(one)], -(one.step or -1), -one.rank))
        others = "the others" if common > 1 else "the other"
        at = f"is at {odd.call} while {others} {'are' if common > 1 else 'is'} not"
        return of_rank(case, odd, "collective mismatch", at, str(odd.call))
    unsent = [
        one for one in alive if one.process and any(each.unsent for each in one.process.sockets)
    ]
    first = (unsent or alive)[0]
    call = first.call
    if unsent:
        what = f"sends to a peer that does not take it, in {call}"
        return of_rank(case, first, "peer unreachable", what, str(call))
    if call is not None and call.doing is Doing.RENDEZVOUS:
        what = f"waits with all others at the rendezvous, in {call}"
        return of_rank(case, first, "rank missing at rendezvous", what, str(call))
    what = f"waits with all others in {call}"
    return of_rank(case, first, "peer unreachable", what, str(call))
