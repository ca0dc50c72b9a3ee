"""What keeps ranks apart that all wait, or that all ended as one had left them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from metta_sandbox.autopsy.absent import missing_rank
from metta_sandbox.autopsy.calls import Doing
from metta_sandbox.autopsy.case import Case
from metta_sandbox.autopsy.cause import Cause, Kind
from metta_sandbox.autopsy.deaths import clashed, death_of, left_alone
from metta_sandbox.autopsy.graph import graph_of, waits
from metta_sandbox.autopsy.members import Member
from metta_sandbox.autopsy.mismatch import went_astray
from metta_sandbox.autopsy.sentences import cause_of, likely_mismatch, of_rank, seen_of
from metta_sandbox.autopsy.sequences import last_noted, strayed, uses_another, was_due


def one_clashed(case: Case) -> Cause | None:
    """Tell of a rank that ended as another one gave something else in the same collective."""
    member = next((one for one in case.members if clashed(one)), None)
    if member is None:
        return None
    _, what, call = death_of(case, member)
    return cause_of(
        case,
        "collective mismatch",
        f"{member} {what}, which is not what another rank was at; "
        "which of them is wrong is not known",
        node=member.node,
        step=member.step,
        call=call,
        certainty="unknown",
        evidence=seen_of(member),
    )


def left_out(case: Case) -> Cause | None:
    """Find who waits elsewhere than where it was due, and others wait for it there.

    Of ranks that wait for each other in a circle, in several process groups, this is the one that
    has not come to where another one often was before.
    """
    pairs = [
        (case.member(ahead), case.member(behind))
        for ahead, behind in graph_of(case).behind()
        if _was_due(case.member(ahead)) and waits(case, case.member(behind))
    ]
    if len({behind.rank for _, behind in pairs}) != 1:
        return _one_astray(case)
    ahead, behind = pairs[0]
    place = behind.place or last_noted(behind.recorded)
    if behind.rank in {one.rank for one, _ in pairs} or place in {ahead.place, ""}:
        return None
    what = f"went on to {place} without {ahead.place}"
    return likely_mismatch(case, behind, what, place, ("collectives",))


def _one_astray(case: Case) -> Cause | None:
    """Find the one rank whose last call was not due, where all of them wait, or did."""
    if not all(waits(case, one) for one in case.members):
        return None
    found = [one for one in case.members if one.recorded and strayed(one.recorded)]
    return went_astray(case, found[0]) if len(found) == 1 else None


def _was_due(member: Member) -> bool:
    return member.recorded is not None and was_due(member.recorded, member.call)


def named_by_others(case: Case) -> Cause | None:
    """Find the rank of which PyTorch, or its record, says that it did not come."""
    graph = graph_of(case)
    # What those are at that still wait is known better.
    waiting = any(one.alive and one.call is not None for one in case.members)
    ahead, behind = ([], []) if waiting else graph.apart()
    named = graph.named() or (behind if len(behind) == 1 else [])
    if not named and len(ahead) == 1 and behind:
        member = case.member(ahead[0])
        call = member.place
        what = f"went on to {call} when the others had not come there"
        return likely_mismatch(case, member, what, call)
    if not named:
        return None
    member = case.member(named[0])
    call = member.place
    what = f"did not come to where the others waited for it; it was at {call or 'nothing known'}"
    return likely_mismatch(case, member, what, call)


def all_wait(case: Case) -> Cause | None:
    """Say what keeps ranks apart that all wait, each in a call of torch.distributed."""
    alive = [one for one in case.members if one.alive and one.call is not None]
    if not alive:
        return None

    def where(one: Member) -> tuple[str, str]:
        assert one.call is not None
        return one.call.name, one.call.place

    if (astray := _astray(case, alive)) is not None:
        return astray
    strays = [one for one in alive if one.recorded and strayed(one.recorded, one.call)]
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
                -(one.call.line if one.call else 0),
            ),
        )
        others = "the others" if common > 1 else "the other"
        at = f"is at {odd.call} while {others} {'are' if common > 1 else 'is'} not"
        return likely_mismatch(case, odd, at, str(odd.call))
    return _together(case, alive)


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
                return likely_mismatch(case, other, what, str(other.call))
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
    changed = [one for one in alive if one.recorded and uses_another(one.recorded)]
    known = rare or (changed if len(changed) == 1 else [])
    odd = (known or alive)[-1]
    other = next(one for one in alive if told[one.rank] != told[odd.rank])
    what = (
        f"{odd} is in {odd.call} with {_said(told[odd.rank])} "
        f"where {other} has {_said(told[other.rank])}"
    )
    return cause_of(
        case,
        "collective mismatch",
        what if known else f"{what}; which one is right is not known",
        node=odd.node,
        rank=odd.rank if known else None,
        call=str(odd.call),
        certainty="certain" if rare else "likely" if known else "unknown",
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


def lost_a_peer(case: Case) -> Cause | None:
    """Say who lost its connection first, where no rank has ended by itself."""
    left = [one for one in case.members if not one.alive and one.error and left_alone(case, one)]
    if not left:
        return None
    first = min(left, key=lambda one: math.inf if one.ended is None else one.ended)
    kind, what, call = death_of(case, first)
    if kind == "rank missing at rendezvous":
        never = (one for one in case.members if one.process is None and one.status is None)
        if (absent := next(never, None)) is not None:
            return missing_rank(case, absent)
        return of_rank(case, first, kind, what, call, certainty="likely")
    if any(_is_unknown(case, one) for one in case.members):
        return of_rank(case, first, kind, what, call, certainty="likely")
    what = f"lost a peer that had not ended: it {what}"
    return of_rank(case, first, "peer unreachable", what, call, certainty="likely")


def _is_unknown(case: Case, member: Member) -> bool:
    """Tell whether nobody has looked for a rank of whose end nothing was heard."""
    unseen = member.process is None and member.node not in {*case.looks, *case.commands}
    return member.alive and unseen
