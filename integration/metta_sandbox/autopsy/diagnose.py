"""From what was seen to one sentence: what happened first, to whom, and who waits for whom.

The cause is where all waiting ends (``graph``): at a node that is gone, a rank that ended by
itself, one that does not come to where the others wait. What ranks have entered (``sequences``)
and where they meet (``meeting``) tells what keeps them apart where all of them wait.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

from metta_sandbox.autopsy.calls import AT_WORK, Doing
from metta_sandbox.autopsy.case import Case
from metta_sandbox.autopsy.cause import Cause, Certainty, Kind
from metta_sandbox.autopsy.deaths import clashed, death_of, failed_by_themselves, left_alone
from metta_sandbox.autopsy.graph import graph_of, order, waits
from metta_sandbox.autopsy.kinds import TRACKER, kind_of, what_holds
from metta_sandbox.autopsy.meeting import (
    cannot_reach,
    launcher_failed,
    launchers_differ,
    meeting_differs,
)
from metta_sandbox.autopsy.members import Member
from metta_sandbox.autopsy.rollouts import rollout_broke, rollout_died, rollout_hangs
from metta_sandbox.autopsy.sentences import cause_of, of_rank, seen_of
from metta_sandbox.autopsy.sequences import collectives_differ, strayed
from metta_sandbox.autopsy.words import Exc

#: What is said of a node whose agent has ended, or is about to, and kills all that it has started.
_NODE_GONE = re.compile(
    r"is gone: |no agent of node|is lost$|agent is gone|agent ends|ended with status -(9|15)$"
)


def diagnose(case: Case) -> Cause | None:
    """Name the cause, or None if nothing of what is known points to one."""
    looks: tuple[Callable[[Case], Cause | None], ...] = (
        _node_lost,
        _node_silent,
        _different_overrides,
        _name_again,
        launchers_differ,
        launcher_failed,
        _rank_failed,
        _no_number,
        rollout_broke,
        meeting_differs,
        cannot_reach,
        collectives_differ,
        _rank_absent,
        _ended_early,
        _clashed,
        _named_by_others,
        _all_wait,
        _lost_a_peer,
        _not_scored,
        rollout_died,
        rollout_hangs,
    )
    cause = next((cause for look in looks if (cause := look(case)) is not None), None)
    return cause and cause.model_copy(update={"waits": graph_of(case).edges})


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
        how = problem.removeprefix(f"{host} is gone: ")
        what = f"{host} (rank {rank}) is gone: {how}"
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


def _rank_failed(case: Case) -> Cause | None:
    """Find the first rank that ended badly of its own."""
    failed = failed_by_themselves(case)
    if not failed:
        return None
    first = failed[0]
    kind, what, call = death_of(case, first)
    if kind == "rank missing at rendezvous":
        return None
    lost = case.lost.get(first.rank)
    if kind == "process died" and lost is not None and (first.status or 0) > 0:
        kind, what = "NaN", f"{what}, after it had no number at step {lost.step}: {lost.line}"
    again = f", in attempt {first.generation + 1}" if first.generation else ""
    certainty: Certainty = "certain" if first.status is not None else "likely"
    return of_rank(case, first, kind, f"{what}{again}", call, certainty=certainty)


def _no_number(case: Case) -> Cause | None:
    told = [
        event
        for event in case.events
        if event.name == "train.step"
        and event.get("trial") == case.trial
        and _is_no_number(event.get("loss", 0.0))
    ]
    if not told:
        return _lost_by_its_log(case)
    # Another rank is lost one step later, which may be heard sooner.
    first = min(told, key=lambda event: int(event.get("step") or 0))
    member = next(one for one in case.members if one.rank == first.get("rank"))
    step = first.get("step")
    what = f"rank {member.rank} ({member.node}) had no number for a loss at train.step {step}"
    return cause_of(case, "NaN", what, node=member.node, rank=member.rank, step=step)


def _lost_by_its_log(case: Case) -> Cause | None:
    """Find the rank whose log has the earliest step with a loss that is no number."""
    if not case.lost or not _failed_over_numbers(case):
        return None
    step = min(each.step for each in case.lost.values())
    first = [rank for rank, each in sorted(case.lost.items()) if each.step == step]
    member = case.member(first[0])
    lost = case.lost[first[0]]
    alone = len(first) == 1 and lost.named
    who = f"rank {member.rank} ({member.node})" if len(first) == 1 else "all ranks alike"
    what = f"{who} had no number for a loss at step {step}: {lost.line}"
    return cause_of(
        case,
        "NaN",
        what,
        node=member.node,
        rank=member.rank if len(first) == 1 else None,
        step=step if lost.named else None,
        certainty="certain" if alone else "likely",
        evidence=("log",),
    )


def _failed_over_numbers(case: Case) -> bool:
    """Tell whether all ranks came to their end, and the trial failed all the same."""
    return all(one.status == 0 for one in case.members)


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


def _rank_absent(case: Case) -> Cause | None:
    """Find the rank that waits for nobody, and for which the others wait."""
    alive = [one for one in case.members if one.alive]
    # What one was at that was told to end is known as well.
    stopped = [one for one in case.members if not one.alive and one.call and left_alone(case, one)]
    absent = [
        one
        for one in (*alive, *stopped)
        if one.call is not None and not waits(case, one) and one.call.doing is not Doing.STORE
    ]
    waiting = [one for one in case.members if waits(case, one)]
    if absent and len(absent) == len(alive) + len(stopped) and all(_gets_on(one) for one in absent):
        return _all_at_work(case, absent)
    graph = graph_of(case)
    # One whose stack can't be read may wait like the others, unless it is seen to be behind them.
    absent = [one for one in absent if _is_read(one) or graph.shown(one.rank)]
    if absent:
        first = order(graph, absent)[0]
        assert first.call is not None
        kind, what = what_holds(first.call)
        what += "" if first.alive else " until it was told to end"
        sure: Certainty = "certain" if graph.shown(first.rank) or len(absent) == 1 else "likely"
        return of_rank(case, first, kind, what, str(first.call), certainty=sure)
    if (early := _ended_early(case)) is not None:
        return early
    missing = [
        one for one in alive if one.process is None and (one.node in case.looks or not one.started)
    ]
    missing.sort(key=lambda one: (one.started, one.rank))
    if missing and waiting:
        return _missing(case, missing[0])
    return _at_the_store(case, alive) or _unread(case, alive)


def _unread(case: Case, alive: Sequence[Member]) -> Cause | None:
    """Say whose stack is missing, where that might be the one that the others wait for."""
    unread = [one for one in alive if one.call is not None and not _is_read(one)]
    if not unread:
        return None
    why = next((one.call.place for one in unread if one.call and one.call.place), "no reason told")
    names = ", ".join(f"rank {one.rank} ({one.node})" for one in unread)
    what = f"the stack of {names} can't be read ({why}), so who is to blame is not known"
    return cause_of(
        case, "straggler", what, node=unread[0].node, certainty="unknown", evidence=("processes",)
    )


def _is_read(member: Member) -> bool:
    return member.call is not None and member.call.doing is not Doing.UNKNOWN


def _gets_on(member: Member) -> bool:
    return member.call is not None and member.call.doing in AT_WORK


def _all_at_work(case: Case, members: Sequence[Member]) -> Cause:
    """Say that nobody is to blame where all ranks get on and none waits."""
    told = ", ".join(f"rank {one.rank} at {one.call}" for one in members)
    load = max((look.load or 0.0 for look in case.looks.values()), default=0.0)
    busy = f"; the machine's load was {load:.0f}" if load else ""
    return cause_of(
        case,
        "straggler",
        f"all ranks are still at work: {told}{busy}",
        node=members[0].node,
        certainty="unknown",
        evidence=("stack",),
    )


def _missing(case: Case, member: Member) -> Cause:
    met = any(one.recorded and one.recorded.entries for one in case.members)
    what = "is not there" if member.started or met else "never came to the rendezvous"
    return of_rank(
        case,
        member,
        "rank missing at rendezvous",
        what,
        certainty="likely",
        evidence=("processes",),
    )


def _at_the_store(case: Case, alive: Sequence[Member]) -> Cause | None:
    """Find a rank that waits for a key of the store that nobody has set."""
    found = [one for one in alive if one.call is not None and one.call.doing is Doing.STORE]
    if not found or (len(found) == len(alive) and len(alive) > 1):
        return None
    call = found[0].call
    assert call is not None
    kind, what = what_holds(call)
    return of_rank(case, found[0], kind, what, str(call), certainty="likely")


def _ended_early(case: Case) -> Cause | None:
    """Find who ended well while others still waited for it, or who went on when all had ended."""
    left = [one for one in case.members if waits(case, one) or clashed(one)]
    ended = [one for one in case.members if one.status == 0]
    if not left or not ended:
        return None
    if len(ended) > len(left):
        return _went_on(case, left[0], len(ended))
    what = "ended with status 0 while others still needed it"
    sure: Certainty = "certain" if len(left) > len(ended) else "likely"
    return of_rank(case, ended[0], "collective mismatch", what, certainty=sure)


def _went_on(case: Case, member: Member, ended: int) -> Cause:
    """Say of a rank that it needed others once more, of which most had come to their end."""
    error = member.error
    call = str(member.call) if member.call else f"`{error.call}`, {error.place}" if error else ""
    what = f"went on to {call} when {ended} other ranks had ended with status 0"
    return of_rank(case, member, "collective mismatch", what, call, certainty="likely")


def _clashed(case: Case) -> Cause | None:
    """Tell of a rank that ended as another one gave something else in the same collective."""
    member = next((one for one in case.members if clashed(one)), None)
    if member is None:
        return None
    _, what, call = death_of(case, member)
    return cause_of(
        case,
        "collective mismatch",
        f"rank {member.rank} ({member.node}) {what}, which is not what another rank was at; "
        "which of them is wrong is not known",
        node=member.node,
        step=member.step,
        call=call,
        certainty="unknown",
        evidence=seen_of(member),
    )


def _named_by_others(case: Case) -> Cause | None:
    """Find the rank of which PyTorch itself has said that it did not come."""
    named = graph_of(case).named()
    if not named:
        return None
    member = case.member(named[0])
    error, call = member.error, str(member.call) if member.call else ""
    if not call and error and error.place:
        call = f"`{error.call}`, {error.place}" if error.call else error.place
    what = f"did not come to where the others waited for it; it was at {call or 'nothing known'}"
    return of_rank(case, member, "collective mismatch", what, call, certainty="likely")


def _all_wait(case: Case) -> Cause | None:
    alive = [one for one in case.members if one.alive and one.call is not None]
    if not alive:
        return None

    def where(one: Member) -> tuple[str, str]:
        assert one.call is not None
        return one.call.name, one.call.place

    if (astray := _astray(case, alive)) is not None:
        return astray
    strays = [one for one in alive if one.recorded and strayed(one.recorded)]
    places = Counter(where(one) for one in alive)
    if len(places) > 1:
        common = max(places.values())
        # Of two, it is the one that waits for a message, or is ahead, as it has left something out.
        odd = min(
            strays if len(strays) == 1 else alive,
            key=lambda one: (
                places[where(one)],
                where(one)[0] not in {"recv", "send"},
                -(one.step or -1),
                -_line(one),
            ),
        )
        others = "the others" if common > 1 else "the other"
        at = f"is at {odd.call} while {others} {'are' if common > 1 else 'is'} not"
        return of_rank(case, odd, "collective mismatch", at, str(odd.call), certainty="likely")
    return _together(case, alive)


def _line(member: Member) -> int:
    """Give the line of a rank's own code that it has come to; 0 if it isn't known."""
    number = member.call.place.rpartition(":")[2] if member.call else ""
    return int(number) if number.isdigit() else 0


def _astray(case: Case, alive: Sequence[Member]) -> Cause | None:
    """Find a rank that another one waits to hear from, while it communicates with a third."""
    by_rank = {one.rank: one for one in alive}
    for one in alive:
        assert one.call is not None
        if one.call.name != "recv":
            continue
        for source in (rank for name, rank in one.call.peers if name == "src"):
            other = by_rank.get(source)
            if other is None or other.call is None or other.call.name not in {"send", "recv"}:
                continue
            if one.rank in (rank for _, rank in other.call.peers):
                continue
            peers = ", ".join(f"{name} {rank}" for name, rank in other.call.peers)
            if other.call.name == "send":
                what = f"sends elsewhere ({peers}) than rank {one.rank}, which waits for it,"
                return of_rank(
                    case, other, "collective mismatch", what, str(other.call), certainty="likely"
                )
    return None


def _other_arguments(case: Case, alive: Sequence[Member]) -> Cause | None:
    """Find ranks that are in the same call with other sources or destinations, or other groups."""
    told = {one.rank: _arguments(one) for one in alive}
    counts = Counter(told.values())
    names = {one.call.name if one.call else "" for one in alive}
    if len(counts) < 2 or names & {"", "send", "recv"}:  # noqa: PLR2004 - all alike
        return None
    common = max(counts.values())
    rare = [one for one in alive if counts[told[one.rank]] < common]
    odd = (rare or alive)[-1]
    other = next(one for one in alive if told[one.rank] != told[odd.rank])
    what = (
        f"rank {odd.rank} ({odd.node}) is in {odd.call} with {_said(told[odd.rank])} "
        f"where rank {other.rank} ({other.node}) has {_said(told[other.rank])}"
    )
    return cause_of(
        case,
        "collective mismatch",
        what if rare else f"{what}; which one is right is not known",
        node=odd.node,
        rank=odd.rank if rare else None,
        call=str(odd.call),
        certainty="certain" if rare else "unknown",
        evidence=("stack", "collectives"),
    )


Arguments = tuple[tuple[str, int | str], ...]


def _arguments(member: Member) -> Arguments:
    """Give with whom a rank communicates, and in which process group, as far as that is known."""
    peers: Arguments = member.call.peers if member.call else ()
    entries = member.recorded.entries if member.recorded else ()
    return (*peers, *((("group", entries[-1].group),) if entries and not peers else ()))


def _said(arguments: Arguments) -> str:
    return ", ".join(f"{name} {value}" for name, value in arguments) or "none"


def _together(case: Case, alive: Sequence[Member]) -> Cause:
    """Say what is known where all ranks wait in the same call."""
    if (cause := _other_arguments(case, alive)) is not None:
        return cause
    unsent = [one for one in alive if _sends_in_vain(one)]
    first = (unsent or alive)[0]
    call = first.call
    if unsent:
        what = f"sends to a peer that does not take it, in {call}"
        return of_rank(case, first, "peer unreachable", what, str(call), certainty="likely")
    if call is not None and call.doing is Doing.RENDEZVOUS:
        what = f"all ranks wait at the rendezvous, in {call}, and none is missing"
        kind: Kind = "rank missing at rendezvous"
    else:
        what = f"all ranks wait in {call}, and none is missing"
        kind = "deadlock" if call is not None and call.name == "recv" else "peer unreachable"
    return cause_of(
        case,
        kind,
        what,
        node=first.node,
        step=first.step,
        call=str(call),
        certainty="unknown",
        evidence=seen_of(first),
    )


def _sends_in_vain(member: Member) -> bool:
    """Tell whether bytes wait to be taken by another rank; by itself, they prove nothing."""
    if member.process is None:
        return False
    own = {each.local for each in member.process.sockets}
    return any(each.unsent and each.remote not in own for each in member.process.sockets)


def _lost_a_peer(case: Case) -> Cause | None:
    """Say who lost its connection first, where no rank has ended by itself."""
    left = [one for one in case.members if not one.alive and one.error and left_alone(case, one)]
    if not left:
        return None
    first = min(left, key=lambda one: math.inf if one.ended is None else one.ended)
    kind, what, call = death_of(case, first)
    if kind == "rank missing at rendezvous":
        never = (one for one in case.members if one.process is None and one.status is None)
        if (absent := next(never, None)) is not None:
            return _missing(case, absent)
        return of_rank(case, first, kind, what, call, certainty="likely")
    if any(_is_unknown(case, one) for one in case.members):
        return of_rank(case, first, kind, what, call, certainty="likely")
    what = f"lost a peer that had not ended: it {what}"
    return of_rank(case, first, "peer unreachable", what, call, certainty="likely")


def _is_unknown(case: Case, member: Member) -> bool:
    """Tell whether nobody has looked for a rank of whose end nothing was heard."""
    unseen = member.process is None and member.node not in {*case.looks, *case.commands}
    return member.alive and unseen
