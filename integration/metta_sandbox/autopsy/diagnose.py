"""From what was seen to one sentence: what happened first, to whom, and who waits for whom.

Each look at the case answers one question, in the order in which causes hide each other: who is
gone, who died by itself, who does not come to where the others wait.
"""

from __future__ import annotations

import re
import signal
from collections import Counter
from collections.abc import Callable, Sequence

from metta_sandbox.autopsy.calls import Call, Doing
from metta_sandbox.autopsy.case import Case, Member
from metta_sandbox.autopsy.cause import Cause, Kind, Waiting
from metta_sandbox.autopsy.words import Exc
from metta_sandbox.stack.ends import describe_end

#: What a rank says, or how it ends, when another one left it or it was told to end.
_LEFT_ALONE = re.compile(
    r"closed by peer|reset by peer|Broken pipe|Connection refused|Application timeout|"
    r"Connection closed|peer closed|recvValue failed",
    re.IGNORECASE,
)
#: What is said of a node whose agent has ended, or is about to.
_NODE_GONE = re.compile(r"no agent of node|is lost$|agent is gone|agent ends")
_TOLD_TO_END = frozenset({-signal.SIGTERM, -signal.SIGINT, 128 + signal.SIGTERM})
_DISK = re.compile(r"No space left on device|Errno 28|ENOSPC|Disk quota exceeded")
_PORT = re.compile(r"EADDRINUSE|[Aa]ddress already in use|Errno 98")
_MISMATCH = re.compile(r"[Mm]ismatch between collectives|op\.preamble\.length|do(es)? not match")
_TIMED_OUT = re.compile(r"[Tt]imed? ?out|Timeout")
_MEETING = re.compile(r"rendezvous|init_process_group")
_NO_NUMBER = re.compile(r"\b(nan|NaN|inf)\b")
_TRACKER = re.compile(r"wandb|CommError|UsageError")
_API = re.compile(
    r"\b(GET|POST) https?://|https?://\S+ gave no answer|ControlPlane|HTTPError|ReadTimeout"
    r"|Observatory|Cogweb",
    re.IGNORECASE,
)
#: How many of those who wait are named.
_NAMED = 3


def diagnose(case: Case) -> Cause | None:
    """Name the cause, or None if nothing of what is known points to one."""
    looks: tuple[Callable[[Case], Cause | None], ...] = (
        _node_lost,
        _node_silent,
        _different_overrides,
        _name_again,
        _rank_died,
        _no_number,
        _rank_hangs,
        _not_scored,
        _rollout_died,
        _rollout_hangs,
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
    return _cause(
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
        return _cause(case, "node lost", what, node=host, rank=rank, step=ranks[0].step)
    what = f"{host} (rank {rank}) does not answer, as if it stood still: {problem}"
    return _cause(case, "stopped", what, node=host, rank=rank, step=ranks[0].step)


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
        return _cause(case, "different overrides", what, node=host, rank=rank)
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
            return _cause(case, "run name repeated", what, node=case.hosts[0], rank=0)
    return None


def _rank_died(case: Case) -> Cause | None:
    failed = [one for one in case.members if one.status not in (None, 0)]
    if not failed:
        return None
    # What failed by itself comes before what was left alone by it.
    first = min(failed, key=lambda one: (_is_left_alone(one), one.ended or 0.0))
    if _is_left_alone(first) and (other := _rank_hangs(case) or _left_early(case)) is not None:
        return other
    kind, what, call = _death(case, first)
    if kind == "rank missing at rendezvous" and (absent := _absent(case)) is not None:
        return absent
    return _of_rank(case, first, kind, what, call)


def _left_early(case: Case) -> Cause | None:
    """Find who ended well while others still waited for it."""
    for one in case.members:
        if one.status == 0:
            what = "ended with status 0 while others still needed it"
            return _of_rank(case, one, "collective mismatch", what)
    return None


def _is_left_alone(member: Member) -> bool:
    if member.status in _TOLD_TO_END:
        return True
    return member.error is not None and bool(_LEFT_ALONE.search(str(member.error)))


def _death(case: Case, member: Member) -> tuple[Kind, str, str]:
    assert member.status is not None
    look = case.looks.get(member.node)
    if member.status == -signal.SIGKILL:
        if look is not None and look.oom_kills:
            return "killed by the kernel", "was killed by the kernel, out of memory", ""
        return "process died", "was killed by signal 9 (SIGKILL)", ""
    error = member.error
    if member.status < 0:
        name = signal.Signals(-member.status).name
        what = f"was killed by signal {-member.status} ({name})"
        # One that aborts has said why; of any other signal it knew nothing when it spoke last.
        kind = _kind_of(error) if error and member.status == -signal.SIGABRT else "exception"
        if error is None or kind == "exception":
            return "process died", what, ""
        return kind, f"{what}, saying: {error}", ""
    if error is None or not error.kind:
        # Its last words are no traceback, and may be about anything.
        said = str(error) if error else ""
        kind = _kind_of(error) if error else "exception"
        died = kind == "exception"
        return "process died" if died else kind, describe_end(member.status, said), ""
    place = f"`{error.function}`, {error.place}" if error.place else ""
    return _kind_of(error), f"raised {error}", place


def _kind_of(error: Exc) -> Kind:
    text = str(error)
    known: tuple[tuple[re.Pattern[str], Kind], ...] = (
        (_DISK, "disk full"),
        (_PORT, "port taken"),
        (_MISMATCH, "collective mismatch"),
    )
    for pattern, kind in known:
        if pattern.search(text):
            return kind
    if error.kind.startswith(("wandb", "CommError")):
        return "tracker failed"
    if _TIMED_OUT.search(text) and any(_MEETING.search(call) for call in error.calls):
        return "rank missing at rendezvous"
    if _NO_NUMBER.search(error.message) and ("Error" in error.kind or not error.kind):
        return "NaN"
    return "exception"


def _absent(case: Case) -> Cause | None:
    for one in case.members:
        if one.process is None and one.status is None:
            return _of_rank(case, one, "rank missing at rendezvous", "never came to the rendezvous")
    return None


def _no_number(case: Case) -> Cause | None:
    for event in case.events:
        if event.name != "train.step" or event.get("trial") != case.trial:
            continue
        if event.get("loss", 0.0) is None or event.get("loss", 0.0) != event.get("loss", 0.0):
            member = next(one for one in case.members if one.rank == event.get("rank"))
            return _cause(
                case,
                "NaN",
                f"rank {member.rank} ({member.node}) had no number for a loss at train.step "
                f"{event.get('step')}",
                node=member.node,
                rank=member.rank,
                step=event.get("step"),
            )
    return None


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
    kind = "tracker failed" if _TRACKER.search(error.message) else _kind_of(error)
    what = f"all ranks ended well, and rank 0 ({case.hosts[0]}) could not conclude: {error}"
    return _cause(case, kind, what, node=case.hosts[0], rank=0)


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
        return _of_rank(case, missing[0], "rank missing at rendezvous", "is not there")
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
    kind, what = _what_holds(call)
    return _of_rank(case, member, kind, what, str(call))


def _what_holds(call: Call) -> tuple[Kind, str]:
    line = f": {call.source}" if call.source else ""
    at = f" at {call.place}{line}" if call.place else ""
    holder = call.name or "another thread"
    known: dict[Doing, tuple[Kind, str]] = {
        Doing.STOPPED: ("stopped", "is stopped by a signal"),
        Doing.GIL: ("waiting for the GIL", f"waits for the interpreter's lock that {holder} holds"),
        Doing.LOCK: ("waiting for a lock", "waits for a lock"),
        Doing.API: ("API slow", "waits for an answer of the API"),
        Doing.TRACKER: ("tracker failed", f"is held up by {call.name}"),
        Doing.BUSY: ("straggler", "is still at work"),
        Doing.IDLE: ("straggler", "stands still"),
    }
    kind, what = known.get(call.doing, ("straggler", "does not come; its stack can't be read"))
    return kind, f"{what}{at}"


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
        return _of_rank(case, odd, "collective mismatch", at, str(odd.call))
    unsent = [
        one for one in alive if one.process and any(each.unsent for each in one.process.sockets)
    ]
    first = (unsent or alive)[0]
    call = first.call
    if unsent:
        what = f"sends to a peer that does not take it, in {call}"
        return _of_rank(case, first, "peer unreachable", what, str(call))
    if call is not None and call.doing is Doing.RENDEZVOUS:
        what = f"waits with all others at the rendezvous, in {call}"
        return _of_rank(case, first, "rank missing at rendezvous", what, str(call))
    what = f"waits with all others in {call}"
    return _of_rank(case, first, "peer unreachable", what, str(call))


# -- rollouts -----------------------------------------------------------------------------------


def _rollout_died(case: Case) -> Cause | None:
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
            return _cause(
                case,
                "killed by the kernel",
                f"the command of rank {rank} ({host}) was killed by the kernel, out of memory",
                node=host,
                rank=rank,
            )
        sentence = f"the command of rank {rank} ({host}) {describe_end(status)}"
        return _cause(case, "process died", sentence, node=host, rank=rank)
    kind = _kind_of(error)
    if kind == "exception" and _TRACKER.search(str(error)):
        kind = "tracker failed"
    elif kind == "exception" and _API.search(str(error)):
        kind = "API slow" if _TIMED_OUT.search(str(error)) else "API refused"
    elif kind == "exception" and not error.kind:
        kind = "process died"
    place = f" in `{error.function}`, {error.place}" if error.place else ""
    what = f"raised {error}" if error.kind else describe_end(status, str(error))
    sentence = f"the command of rank {rank} ({host}) {what}{place}"
    return _cause(case, kind, sentence, node=host, rank=rank, call=error.place)


def _rollout_left_alone(case: Case, host: str, status: int) -> bool:
    error = case.rollout_errors.get(host)
    return status in _TOLD_TO_END or (
        error is not None and bool(_LEFT_ALONE.search(str(error)) or _TIMED_OUT.search(str(error)))
    )


def _rollout_hangs(case: Case) -> Cause | None:
    if not case.rollouts:
        return None
    guilty = [(host, call) for host, call in case.rollouts.items() if not call.waits_for_others]
    if not guilty:
        return _rollout_absent(case)
    host, call = guilty[0]
    kind, what = _what_holds(call)
    rank = case.hosts.index(host)
    waiting = tuple(
        Waiting(rank=case.hosts.index(other), call=str(at))
        for other, at in case.rollouts.items()
        if at.waits_for_others
    )
    sentence = f"the rollout of rank {rank} ({host}) {what}{_when(case, None)}{_told(waiting)}"
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
        return _cause(case, "rank missing at rendezvous", what, node=host, rank=rank)
    return None


# -- sentences ----------------------------------------------------------------------------------


def _of_rank(case: Case, member: Member, kind: Kind, what: str, call: str = "") -> Cause:
    at = f" in {call}" if call and call not in what and kind not in _HELD else ""
    return _cause(
        case,
        kind,
        f"rank {member.rank} ({member.node}) {what}{at}",
        node=member.node,
        rank=member.rank,
        step=member.step,
        call=call,
    )


#: Kinds whose words say already where.
_HELD = frozenset({"stopped", "straggler", "waiting for a lock", "waiting for the GIL", "API slow"})


def _cause(
    case: Case,
    kind: Kind,
    what: str,
    *,
    node: str,
    rank: int | None = None,
    step: int | None = None,
    call: str = "",
) -> Cause:
    waiting = _waiting(case, rank) if case.begun else ()
    return Cause(
        kind=kind,
        sentence=f"{what}{_when(case, None if 'train.step' in what else step)}{_told(waiting)}",
        node=node,
        rank=rank,
        trial=case.trial,
        step=step,
        call=call,
        waiting=waiting,
    )


def _waiting(case: Case, guilty: int | None) -> tuple[Waiting, ...]:
    """Find who waits for the guilty one, or did until it was left alone."""
    found = []
    for one in case.members:
        if one.rank == guilty:
            continue
        if one.call is not None and one.call.waits_for_others:
            found.append(Waiting(rank=one.rank, call=str(one.call)))
        elif one.error is not None and _LEFT_ALONE.search(str(one.error)) and one.error.place:
            call = f"`{one.error.call}`, " if one.error.call else ""
            found.append(Waiting(rank=one.rank, call=f"{call}{one.error.place}", left=True))
    return tuple(found)


def _when(case: Case, step: int | None) -> str:
    after = "" if step is None else f" after train.step {step}"
    return after if case.trial is None else f" in trial {case.trial}{after}"


def _told(waiting: Sequence[Waiting]) -> str:
    if not waiting:
        return ""
    told = [
        f"rank {one.rank} {'was left waiting' if one.left else 'waits'} in {one.call}"
        for one in waiting[:_NAMED]
    ]
    more = f" and {len(waiting) - _NAMED} more" if len(waiting) > _NAMED else ""
    return f"; {', '.join(told)}{more}"
