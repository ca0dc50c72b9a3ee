"""Ranks for which others wait, and that wait for none of them."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from metta_sandbox.autopsy.calls import AT_WORK, CurrentCall, Doing
from metta_sandbox.autopsy.case import Case
from metta_sandbox.autopsy.cause import Cause, Certainty, Kind
from metta_sandbox.autopsy.deaths import clashed, left_alone
from metta_sandbox.autopsy.graph import Graph, graph_of, order, waits
from metta_sandbox.autopsy.kinds import what_holds
from metta_sandbox.autopsy.members import Member
from metta_sandbox.autopsy.sentences import cause_of, likely_mismatch, of_rank, seen_of
from metta_sandbox.autopsy.sequences import was_due


def rank_absent(case: Case) -> Cause | None:
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
    if (
        absent
        and not waiting
        and len(absent) == len(alive) + len(stopped)
        and all(_gets_on(one) for one in absent)
    ):
        return _all_at_work(case, absent)
    if not waiting and (early := _left_all(case, absent)) is not None:
        return early
    graph = graph_of(case)
    # One whose stack can't be read may wait like the others, unless it is seen to be behind them.
    absent = [one for one in absent if _is_read(one) or graph.shown(one.rank)]
    if absent:
        return _kept_waiting(case, graph, absent)
    if (early := ended_early(case)) is not None:
        return early
    missing = [
        one
        for one in alive
        if one.process is None
        and (one.node in case.looks or not one.started)
        and not _began_later(case, one)
    ]
    missing.sort(key=lambda one: (one.started, one.rank))
    if missing and waiting:
        return missing_rank(case, missing[0])
    return _at_the_store(case, alive) or _unread(case, alive)


def _kept_waiting(case: Case, graph: Graph, absent: Sequence[Member]) -> Cause:
    """Say what keeps the first of those from coming for which the others wait."""
    alive = [one for one in case.members if one.alive]
    at_store = [one for one in alive if one.call and one.call.doing is Doing.STORE]
    polls = all(one.call and one.call.polls for one in absent)
    # One alone that polls may be whom all at the store wait for.
    few = len(at_store) <= len(absent)
    if polls and few and (at_the_store := _at_the_store(case, alive)) is not None:
        # Who looks again and again waits for somebody, too.
        return at_the_store
    first = order(graph, absent)[0]
    if (file := _lock_of(first)) and (holder := _holder(case, first, file)) is not None:
        if waits(case, holder):
            return _held_in_a_circle(case, first, holder, file)
        first = holder if holder in absent else first
    assert first.call is not None
    kind, what = _held(case, first.call)
    what += "" if first.alive else f" until {_stopped_by(first)} ended it"
    others = [one for one in case.members if one is not first]
    alone = len(absent) == 1 and (not others or any(waits(case, one) for one in others))
    shown = graph.shown(first.rank) or alone
    still = first.call.doing is Doing.IDLE
    known = not first.call.polls and (not still or _is_compared(first))
    sure: Certainty = "certain" if shown and first.alive and known else "likely"
    return of_rank(case, first, kind, what, str(first.call), certainty=sure)


def _stopped_by(member: Member) -> str:
    return "SIGINT" if member.status == -signal.SIGINT else "SIGTERM"


def _held(case: Case, call: CurrentCall) -> tuple[Kind, str]:
    """Tell what keeps a process from coming, and of W&B what its server has answered."""
    kind, what = what_holds(call)
    return kind, f"{what}{case.tracker_answers if kind == 'tracker failed' else ''}"


def _is_compared(member: Member) -> bool:
    """Tell whether a rank was looked at twice: else one that sleeps may only have paused."""
    return member.process is not None and any(
        one.moved is not None for one in member.process.threads
    )


def _lock_of(member: Member) -> str:
    """Name the file whose lock a rank waits for; empty if there is none."""
    return next(iter(member.process.locks), "") if member.process else ""


def _holder(case: Case, member: Member, file: str) -> Member | None:
    """Find the one other rank that has a file open, and does not wait for its lock."""
    found = [
        one
        for one in case.members
        if one is not member
        and one.process is not None
        and file not in one.process.locks
        and any(each.target == file and each.writes for each in one.process.fds)
    ]
    return found[0] if len(found) == 1 else None


def _held_in_a_circle(case: Case, member: Member, holder: Member, file: str) -> Cause:
    """Say of two ranks that one waits for a file's lock, and the other, which has it, for it."""
    name = file.rpartition("/")[2]
    what = (
        f"{member} waits at {member.place} for the lock of `{name}`, "
        f"which {holder} has open while it waits for others in "
        f"{holder.place}"
    )
    return cause_of(
        case,
        "deadlock",
        what,
        node=member.node,
        call=member.place,
        waiting=(),
        certainty="likely",
        evidence=("stack", "open files"),
    )


def _unread(case: Case, alive: Sequence[Member]) -> Cause | None:
    """Say whose stack is missing, where that might be the one that the others wait for."""
    unread = [one for one in alive if one.call is not None and not _is_read(one)]
    if not unread:
        return None
    why = next((one.call.place for one in unread if one.call and one.call.place), "no reason told")
    names = ", ".join(f"{one}" for one in unread)
    what = f"the stack of {names} can't be read ({why}), so who is to blame is not known"
    return cause_of(
        case, "straggler", what, node=unread[0].node, certainty="unknown", evidence=("processes",)
    )


def _began_later(case: Case, member: Member) -> bool:
    """Tell whether a rank began only after its node was looked at."""
    look = case.looks.get(member.node)
    return bool(look and look.time and member.life and member.life.started >= look.time)


def _is_read(member: Member) -> bool:
    return member.call is not None and member.call.doing is not Doing.UNKNOWN


def _gets_on(member: Member) -> bool:
    return member.call is not None and member.call.doing in AT_WORK


def _all_at_work(case: Case, members: Sequence[Member]) -> Cause:
    """Say that nobody is to blame where all ranks get on and none waits."""
    told = ", ".join(f"rank {one.rank} at {one.call}" for one in members)
    load = case.load
    busy = f"; the machine's load was {load:.0f}" if load else ""
    return cause_of(
        case,
        "straggler",
        f"all ranks are still at work: {told}{busy}",
        node=members[0].node,
        certainty="unknown",
        evidence=("stack",),
    )


def missing_rank(case: Case, member: Member) -> Cause:
    """Say of a rank that it is not there."""
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
    alone = [one for one in alive if one not in found and _receives_anew(one)]
    if len(alone) == 1:
        return _not_due(case, alone[0])
    elsewhere = [one for one in alive if one not in found]
    met = len(elsewhere) == 1 and waits(case, elsewhere[0])
    if met and len(found) > 1:
        return _has_not_set(case, elsewhere[0], found)
    waiter, call = found[0], found[0].call
    assert call is not None
    kind, what = _held(case, call)
    if met and not _came_round(elsewhere[0]):
        # Of two, either may have the wrong key.
        told = f"{waiter} {what}; which of the ranks is wrong is not known"
        return cause_of(
            case,
            kind,
            told,
            node=waiter.node,
            call=str(call),
            certainty="unknown",
            evidence=seen_of(waiter),
        )
    return of_rank(case, waiter, kind, what, str(call), certainty="likely")


def _came_round(member: Member) -> bool:
    """Tell whether a rank is where it was before, as its loop came round."""
    return member.recorded is not None and was_due(member.recorded, member.call)


def _has_not_set(case: Case, member: Member, waiting: Sequence[Member]) -> Cause:
    """Say of a rank that it went on, where all others wait for a key that nobody has set."""
    kind, held = _each_held(waiting)
    what = f"went on to {member.place}, while {held}"
    return of_rank(case, member, kind, what, member.place, certainty="likely")


def _receives_anew(member: Member) -> bool:
    """Tell whether a rank waits for a message where it never did before."""
    recorded, call = member.recorded, member.call
    if recorded is None or call is None or call.name != "recv":
        return False
    return (
        sum(one.p2p and one.name == "recv" for one in recorded.entries) == 1 < len(recorded.entries)
    )


def _not_due(case: Case, member: Member) -> Cause:
    """Say of a rank that it is in a call that did not come before."""
    what = f"is at {member.place}, where it never was before"
    return likely_mismatch(case, member, what, member.place, ("collectives",))


def ended_early(case: Case) -> Cause | None:
    """Find who ended well while others still waited for it, or who went on when all had ended."""
    left = [
        one
        for one in case.members
        if waits(case, one) or clashed(one) or (one.call and one.call.doing is Doing.STORE)
    ]
    ended = [one for one in case.members if one.status == 0]
    if not left or not ended:
        return None
    if len(ended) > len(left):
        return _went_on(case, left[0], len(ended))
    what = "ended with status 0 while others still needed it"
    sure: Certainty = "certain" if len(left) > len(ended) else "likely"
    return of_rank(case, ended[0], "collective mismatch", what, certainty=sure)


def _left_all(case: Case, still: Sequence[Member]) -> Cause | None:
    """Find who ended well while more others stand at one and the same line, as if for it."""
    ended = [one for one in case.members if one.status == 0]
    places = {(one.call.place, one.call.doing) for one in still if one.call is not None}
    if not ended or len(ended) >= len(still) or len(places) != 1:
        return None
    _, held = _each_held(still)
    return likely_mismatch(case, ended[0], f"ended with status 0, while {held}")


def _each_held(members: Sequence[Member]) -> tuple[Kind, str]:
    """Tell what holds ranks that are all at the same call: its kind, and in words."""
    call = members[0].call
    assert call is not None
    kind, held = what_holds(call)
    return kind, f"each of {', '.join(f'rank {one.rank}' for one in members)} {held}"


def _went_on(case: Case, member: Member, ended: int) -> Cause:
    """Say of a rank that it needed others once more, of which most had come to their end."""
    call = member.place
    what = f"went on to {call} when {ended} other ranks had ended with status 0"
    return likely_mismatch(case, member, what, call)
