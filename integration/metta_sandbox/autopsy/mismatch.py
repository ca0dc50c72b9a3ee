"""Which rank has entered another collective than the others, or has left one out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from metta_sandbox.autopsy.case import Case
from metta_sandbox.autopsy.cause import Cause, Certainty
from metta_sandbox.autopsy.deaths import clashed, death_of, fatal_place
from metta_sandbox.autopsy.members import Member
from metta_sandbox.autopsy.seen import Recorded
from metta_sandbox.autopsy.sentences import cause_of, likely_mismatch, of_rank
from metta_sandbox.autopsy.sequences import (
    Entered,
    Parting,
    all_entered,
    came_before,
    due_instead,
    entered_in,
    gave_something_else,
    next_of,
    odd_one,
    parting_of,
)


def collectives_differ(case: Case) -> Cause | None:
    """Find the rank that entered another collective than the others, while it was their turn."""
    recorded = {one.rank: one.recorded for one in case.members if one.recorded is not None}
    if (cause := _content_differs(case, recorded)) is not None:
        return cause
    for group in sorted({entry.group for one in recorded.values() for entry in one.entries}):
        found = {rank: entered_in(one, group) for rank, one in recorded.items()}
        known = {rank: entered for rank, entered in found.items() if entered}
        if (parting := parting_of(known)) is not None:
            return _told(case, parting)
        if (cause := _strayed(case, known)) is not None:
            return cause
    return None


def _content_differs(case: Case, recorded: Mapping[int, Recorded]) -> Cause | None:
    """Find a collective that ranks have entered at the same place with other tensors."""
    for group in sorted({entry.group for one in recorded.values() for entry in one.entries}):
        found = {rank: entered_in(one, group) for rank, one in recorded.items()}
        for number in sorted({each.number for entered in found.values() for each in entered}):
            now = {
                rank: each
                for rank, entered in found.items()
                for each in entered
                if each.number == number
            }
            if len({one.site for one in now.values()}) != 1:
                continue
            if not _all_fit(now):
                return _of_content(case, found, now)
    return None


def _all_fit(now: Mapping[int, Entered]) -> bool:
    one = next(iter(now.values()))
    return all(one.fits(other) for other in now.values())


def _of_content(
    case: Case, found: Mapping[int, Sequence[Entered]], now: Mapping[int, Entered]
) -> Cause:
    """Say what each side gave; and which one is odd, if a majority or what came before shows it."""
    alike = {rank: sum(map(one.gives_as, now.values())) for rank, one in now.items()}
    rare = [rank for rank in now if alike[rank] < max(alike.values())]
    changed = [rank for rank, one in now.items() if gave_something_else(found[rank], one)]
    odd = rare or (changed if len(changed) < len(now) else [])
    told = odd[0] if odd else max(now)
    own = now[told]
    other, its = next((rank, one) for rank, one in now.items() if not one.gives_as(own))
    member = case.member(told)
    what = (
        f"rank {told} ({member.node}) {own.with_call} "
        f"where rank {other} ({case.member(other).node}) {its.exchanges} (number {own.number})"
        f"{_waited_at(case, now)}"
    )
    return cause_of(
        case,
        "collective mismatch",
        what if odd else f"{what}; which one is right is not known",
        node=member.node,
        rank=told if odd else None,
        step=member.step,
        call=str(own.call),
        certainty="certain" if odd else "unknown",
        evidence=("collectives",),
    )


def _waited_at(case: Case, now: Mapping[int, Entered]) -> str:
    """Say where a rank waited for what it had begun elsewhere; empty where nobody did."""
    for rank, one in now.items():
        place = _place(case.member(rank))
        if place and place != one.call.place:
            return f"; rank {rank} waited at {place}"
    return ""


def _told(case: Case, parting: Parting) -> Cause:
    odd = odd_one(parting, {one.rank: one.step for one in case.members})
    own = parting.entered[odd]
    others = {rank: one for rank, one in parting.entered.items() if one.site != own.site}
    if not others:
        others = {rank: one for rank, one in parting.entered.items() if rank != odd}
    other = max(
        others, key=lambda rank: sum(others[rank].site == each.site for each in others.values())
    )
    return _of(
        case,
        case.member(odd),
        parting.before[odd],
        own,
        others[other],
        other=case.member(other),
        certainty=_certainty(parting, odd),
    )


def _certainty(parting: Parting, odd: int) -> Certainty:
    """Tell how sure it is which one is odd: a majority shows it, what came before suggests it."""
    entered = parting.entered
    alike = {
        rank: sum(one.fits(other) and one.site == other.site for other in entered.values())
        for rank, one in entered.items()
    }
    return "certain" if alike[odd] < max(alike.values()) else "likely"


def went_astray(case: Case, member: Member) -> Cause:
    """Say of a rank that ``strayed`` which call was due in place of its last one."""
    assert member.recorded is not None
    *before, last = (each for _, each in all_entered(member.recorded))
    return _of(case, member, before, last, next_of(before) or last)


def _strayed(case: Case, known: Mapping[int, Sequence[Entered]]) -> Cause | None:
    """Find one that went another way, where the other side died of it and can't tell any more."""
    died = [
        one
        for one in case.members
        if clashed(one) and (one.rank not in known or (one.recorded and one.recorded.partial))
    ]
    if not died:
        return None
    told = {rank: entered for rank, entered in known.items() if case.member(rank) not in died}
    for rank, entered in told.items():
        *before, last = entered
        if (due := due_instead(before, last)) is not None:
            return _of(case, case.member(rank), before, last, due)
        # It may have gone on before the other side found out.
        for one in entered[: -_LATE - 1 : -1]:
            if gave_something_else(entered, one):
                return _gave_it_alone(case, case.member(rank), entered, one)
    if (elsewhere := _elsewhere(case) or _turned_elsewhere(case, known, died)) is not None:
        return elsewhere
    if len(died) == 1 and any(
        came_before(entered) and _is_there(case.member(rank), entered[-1])
        for rank, entered in told.items()
    ):
        # The others are where they were due, with what they gave there before.
        _, what, call = death_of(case, died[0])
        return likely_mismatch(case, died[0], what, call)
    return None


def _turned_elsewhere(
    case: Case, known: Mapping[int, Sequence[Entered]], died: Sequence[Member]
) -> Cause | None:
    """Find, of two, the one elsewhere as the other one's turn came round to the same collective.

    What is half recorded has gaps. A turn of so many numbers as the one before had no gap of its
    own, and left nothing out.
    """
    if len(known) != 2 or len(died) != 1 or died[0].rank not in known:  # noqa: PLR2004 - of two
        return None
    turns = [one for one in known[died[0].rank] if one.site == known[died[0].rank][-1].site]
    numbers = [one.number for one in turns][-_TURNS:]
    (other,) = (case.member(rank) for rank in known if rank != died[0].rank)
    last = known[other.rank][-1]
    regular = len(numbers) == _TURNS and numbers[2] - numbers[1] == numbers[1] - numbers[0]
    follows = (last.site, last.number) == (turns[-1].site, numbers[-2]) if regular else False
    at = _place(other)
    if not follows or not at or at == last.call.place:
        return None
    what = (
        f"was at {other.place} where {turns[-1].call} was due, as collective number {numbers[-1]}"
    )
    return likely_mismatch(case, other, what, other.place, ("collectives",))


#: Times that a collective was entered at one place, which make two turns of a loop.
_TURNS = 3


def _elsewhere(case: Case) -> Cause | None:
    """Find the one rank that was at another line of its own code than all others."""
    places = {one.rank: _place(one) for one in case.members}
    counts = Counter(places.values())
    if len(counts) != 2 or len(places) < 3 or "" in counts:  # noqa: PLR2004 - this, and all others
        return None
    alone = [one for one in case.members if counts[places[one.rank]] == 1]
    found = alone[0] if len(alone) == 1 else None
    if found is None or found.call is None or not found.call.waits_for_others:
        return None
    at = str(found.call)
    what = f"was at {at} while all others were at one other place"
    return likely_mismatch(case, found, what, at)


def _place(member: Member) -> str:
    """Give the line of its own code that a rank is at, or ended at; empty if it isn't known."""
    if member.call is not None:
        return member.call.place
    if member.error is not None and member.error.place:
        return member.error.place
    return fatal_place(member).rpartition(", ")[2]


def _is_there(member: Member, last: Entered) -> bool:
    """Tell whether a rank was at what it entered last: of a dead one, not all is recorded."""
    whole = member.recorded is not None and not member.recorded.partial
    return whole or _place(member) == last.call.place


#: How many collectives later another rank may find out what it got.
_LATE = 4


def _gave_it_alone(case: Case, member: Member, entered: Sequence[Entered], last: Entered) -> Cause:
    """Tell of one that gave other tensors than before, where the other side can't tell any more."""
    earlier = (one for one in reversed(entered) if one.number < last.number)
    before = next(one for one in earlier if one.site == last.site)
    what = f"{last.with_call} where it {before.exchanges} before"
    return likely_mismatch(
        case, member, f"{what} (number {last.number})", str(last.call), ("collectives",)
    )


def _of(
    case: Case,
    member: Member,
    before: Sequence[Entered],
    own: Entered,
    due: Entered,
    *,
    other: Member | None = None,
    certainty: Certainty = "likely",
) -> Cause:
    if own.site in [each.site for each in before] or next_of((*before, due)) is None:
        what = f"has left out {due.call}: its collective number {own.number} is {own.call}"
    else:
        what = f"is at {own.call} where {due.call} was due, as collective number {own.number}"
    if other is not None:
        what += f"; rank {other.rank} has entered {due.call} as that number"
    return of_rank(
        case,
        member,
        "collective mismatch",
        what,
        str(own.call),
        certainty=certainty,
        evidence=("collectives",),
    )
