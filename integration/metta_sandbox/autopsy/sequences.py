"""Which rank has left a collective out, told from the sequences that all ranks have entered.

Ranks of a process group enter the same collectives in the same order. Where their sequences first
differ one of them has gone another way. Of many the one that is alone is odd. Of two it is the one
whose next collective did not come next before. Where nothing was before, as in the first turn of a
loop, it is the one that is further on in the program, and has come there without the other's.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from metta_sandbox.autopsy.calls import CurrentCall, Doing, call_of
from metta_sandbox.autopsy.case import Case
from metta_sandbox.autopsy.cause import Cause, Certainty
from metta_sandbox.autopsy.deaths import clashed, death_of, fatal_place
from metta_sandbox.autopsy.members import Member
from metta_sandbox.autopsy.seen import Collective, Recorded
from metta_sandbox.autopsy.sentences import cause_of, likely_mismatch, of_rank
from metta_sandbox.words import many

#: Collectives whose tensors have the same size on all ranks.
_ALIKE = frozenset({"all_reduce", "broadcast", "reduce", "all_gather", "gather"})


@dataclass(frozen=True)
class Entered:
    """A collective that a rank has entered."""

    number: int
    name: str
    sizes: tuple[tuple[int, ...], ...]
    call: CurrentCall
    dtypes: tuple[str, ...] = ()
    root: int | None = None
    op: str = ""
    out_sizes: tuple[tuple[int, ...], ...] = ()

    def fits(self, other: Entered) -> bool:
        """Tell whether both may be the same one, on two ranks."""
        if self.name in _ALIKE:
            alike = self.content == other.content
        else:
            # Who only receives gives nothing of any type.
            types = {frozenset(one.dtypes) for one in (self, other) if one.dtypes}
            alike = len(types) <= 1 and self.takes_as(other)
        return self.name == other.name and alike and self.goes_as(other)

    def goes_as(self, other: Entered) -> bool:
        """Tell whether roots and reductions are the same, as far as both are known."""
        roots = {self.root, other.root} - {None}
        return len(roots) <= 1 and len({self.op, other.op} - {""}) <= 1

    def takes_as(self, other: Entered) -> bool:
        """Tell whether two ranks take as much of a scatter, as far as both are known."""
        return None in (self.taken, other.taken) or self.taken == other.taken

    def gives_as(self, other: Entered) -> bool:
        """Tell whether two ranks give and take the same, or one rank at two times."""
        known = None not in (self.taken, other.taken)
        same = self.taken == other.taken if known else self.content == other.content
        return same and self.goes_as(other)

    @property
    def taken(self) -> int | None:
        """How many elements come out of a scatter; None of what is none, or if it isn't known."""
        if self.name != "scatter" or not self.out_sizes:
            return None
        return sum(map(math.prod, self.out_sizes))

    @property
    def content(self) -> tuple[object, ...]:
        """How many elements go in, and of which type."""
        return tuple(math.prod(size) for size in self.sizes), self.dtypes

    @property
    def exchanges(self) -> str:
        """Say what goes in, or what comes out of a scatter."""
        takes = self.taken is not None
        sizes = self.out_sizes if takes else self.sizes
        shapes = [list(size) for size in sizes]
        shape = f" {shapes[0]}" if shapes and len(shapes[0]) > 1 else ""
        types = f" of {', '.join(sorted(set(self.dtypes)))}" if self.dtypes else ""
        root = "" if self.root is None else f", root {self.root}"
        op = f", {self.op}" if self.op else ""
        count = many(sum(map(math.prod, sizes)), "element")
        return f"{'took' if takes else 'gave'} {count}{shape}{types}{root}{op}"

    @property
    def with_call(self) -> str:
        """Say the same, and in which call."""
        return f"{self.exchanges} {'to' if self.taken is None else 'from'} {self.call}"

    @property
    def site(self) -> tuple[str, str, str]:
        """What it is, and where its rank's own code has entered it."""
        return self.name, self.call.name, self.call.place

    @property
    def file(self) -> str:
        """The file of its rank's own code."""
        return self.call.place.rpartition(":")[0]

    @property
    def line(self) -> int:
        """The line there; 0 if it isn't known."""
        number = self.call.place.rpartition(":")[2]
        return int(number) if number.isdigit() else 0


@dataclass(frozen=True)
class Parting:
    """Where two or more ranks went different ways: what each has entered, by rank, and before."""

    entered: Mapping[int, Entered]
    before: Mapping[int, tuple[Entered, ...]]


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


def entered_in(recorded: Recorded, group: str) -> tuple[Entered, ...]:
    """List the collectives of one process group, the oldest first."""
    return tuple(each for one, each in _entered(recorded) if one.group == group and not one.p2p)


def _entered(recorded: Recorded) -> Iterator[tuple[Collective, Entered]]:
    """Go through what a rank has entered, the oldest first, as recorded and as compared."""
    calls = [call_of(frames) for frames in recorded.stacks]
    for one in recorded.entries:
        if one.stack < len(calls):
            call = calls[one.stack]
            yield (
                one,
                Entered(
                    one.number,
                    one.name,
                    one.sizes,
                    call,
                    one.dtypes,
                    one.root,
                    one.op,
                    one.out_sizes,
                ),
            )


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
    changed = [rank for rank, one in now.items() if _gave_something_else(found[rank], one)]
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


def _gave_something_else(entered: Sequence[Entered], now: Entered) -> bool:
    """Tell whether a rank has given other tensors at the same place before.

    What else enters collectives on its own, as the wrapper of DDP does, gives many kinds.
    """
    if now.call.name != now.name:
        return False
    before = [one for one in entered if one.number < now.number and one.site == now.site]
    return bool(before) and not any(map(now.gives_as, before))


def parting_of(known: Mapping[int, Sequence[Entered]]) -> Parting | None:
    """Find where ranks first entered different collectives; None if they never did.

    What is alike on all ranks may still be different ones: then one has entered what was due, and
    another one has not.
    """
    by_number = {rank: {each.number: each for each in entered} for rank, entered in known.items()}
    if not by_number:
        return None
    last = min(max(entered) for entered in by_number.values())
    for number in sorted({each for entered in by_number.values() for each in entered}):
        now = {rank: each[number] for rank, each in by_number.items() if number in each}
        if number > last or len({one.site for one in now.values()}) <= 1:
            continue
        # No more of one's history counts than of another's: a dead rank may have kept little.
        first = max(min(by_number[rank]) for rank in now)
        one = next(iter(now.values()))
        before = {
            rank: tuple(each for each in known[rank] if first <= each.number < number)
            for rank in now
        }
        if not all(one.fits(other) for other in now.values()) or _only_some_stray(now, before):
            return Parting(now, before)
    return None


def _only_some_stray(now: Mapping[int, Entered], before: Mapping[int, Sequence[Entered]]) -> bool:
    found = {rank: next_of(before[rank]) for rank in now}
    stray = {due.site != now[rank].site for rank, due in found.items() if due is not None}
    return len(stray) > 1


def odd_one(parting: Parting, steps: Mapping[int, int | None]) -> int:
    """Tell which rank went another way than the one that was due.

    Args:
        parting: Where they parted.
        steps: The last training step that each rank told, if it told any.

    """
    entered = parting.entered
    alike = {
        rank: sum(one.fits(other) for other in entered.values()) for rank, one in entered.items()
    }
    if len(set(alike.values())) > 1:
        return min(alike, key=lambda rank: (alike[rank], rank))
    strayed = [rank for rank, one in entered.items() if _due(parting.before[rank], one)]
    if len(strayed) == 1:
        return strayed[0]
    # One that is ahead has left something out.
    return max(
        entered,
        key=lambda rank: (
            steps.get(rank) or 0,
            _has_gone_round(parting.before[rank], entered[rank]),
            entered[rank].line,
            rank,
        ),
    )


def next_of(before: Sequence[Entered]) -> Entered | None:
    """Foretell what comes next: what came after the longest stretch that was there before."""
    sites = [each.site for each in before]
    for length in range(len(sites) - 1, 0, -1):
        stretch = sites[-length:]
        for end in range(len(sites) - 1, length - 1, -1):
            if sites[end - length : end] == stretch:
                return before[end]
    return None


def _due(before: Sequence[Entered], entered: Entered) -> Entered | None:
    """Give what should have come instead; None if this was due, or nothing is known of it."""
    due = next_of(before)
    return None if due is None or due.site == entered.site else due


def _has_gone_round(before: Sequence[Entered], entered: Entered) -> bool:
    """Tell whether a rank has turned back in its own code since its collective before."""
    return bool(before) and before[-1].file == entered.file and entered.line <= before[-1].line


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


def strayed(recorded: Recorded, at: CurrentCall | None = None) -> bool:
    """Tell whether a rank's last call, in whatever group or to one rank, was not what came before.

    A loop repeats itself; where nothing repeated, nothing is known.

    Args:
        recorded: What the rank has entered.
        at: What it is at now. Who makes a group has entered nothing that is recorded.

    """
    entered = [each for _, each in _entered(recorded)]
    if at is not None and at.doing is Doing.RENDEZVOUS:
        return next_of(entered) is not None
    return len(entered) > 1 and _due(entered[:-1], entered[-1]) is not None


def last_noted(recorded: Recorded | None) -> str:
    """Give the last call that was recorded of a rank, in whatever group; empty if none was."""
    entered = [each for _, each in _entered(recorded)] if recorded is not None else []
    return str(entered[-1].call) if entered else ""


def went_astray(case: Case, member: Member) -> Cause:
    """Say of a rank that ``strayed`` which call was due in place of its last one."""
    assert member.recorded is not None
    *before, last = (each for _, each in _entered(member.recorded))
    return _of(case, member, before, last, next_of(before) or last)


def was_due(recorded: Recorded, at: CurrentCall | None = None) -> bool:
    """Tell whether a rank was in its last collective before, and has not gone astray since.

    Args:
        recorded: What the rank has entered.
        at: What it is at now.

    """
    entered = [each for one, each in _entered(recorded) if not one.p2p]
    came_before = any(one.site == entered[-1].site for one in entered[:-1])
    return came_before and not strayed(recorded, at)


def uses_another(recorded: Recorded) -> bool:
    """Tell whether a rank's last collective went by another group, or root, than there before."""
    told = [(each.site, (one.group, one.root)) for one, each in _entered(recorded) if not one.p2p]
    if not told:
        return False
    site, now = told[-1]
    before = [way for place, way in told[:-1] if place == site]
    return bool(before) and now not in before


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
        if (due := _due(before, last)) is not None:
            return _of(case, case.member(rank), before, last, due)
        # It may have gone on before the other side found out.
        for one in entered[: -_LATE - 1 : -1]:
            if _gave_something_else(entered, one):
                return _gave_it_alone(case, case.member(rank), entered, one)
    if (elsewhere := _elsewhere(case) or _turned_elsewhere(case, known, died)) is not None:
        return elsewhere
    if len(died) == 1 and any(
        _came_before(entered) and _is_there(case.member(rank), entered[-1])
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


def _came_before(entered: Sequence[Entered]) -> bool:
    """Tell whether a rank is in a collective that it has been in before, with the same tensors."""
    last = entered[-1]
    return any(one.site == last.site and one.gives_as(last) for one in entered[:-1])


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
