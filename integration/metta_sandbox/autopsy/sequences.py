"""What ranks have entered: sequences of collectives, and where they first differ.

Ranks of a process group enter the same collectives in the same order. Where their sequences first
differ one of them has gone another way. Of many the one that is alone is odd. Of two it is the one
whose next collective did not come next before. Where nothing was before, as in the first turn of a
loop, it is the one that is further on in the program, and has come there without the other's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from metta_sandbox.autopsy.calls import CurrentCall, Doing, call_of
from metta_sandbox.autopsy.seen import Collective, Recorded
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
        """The collective's name, and where its rank's own code has entered it."""
        return self.name, self.call.name, self.call.place

    @property
    def file(self) -> str:
        """The file of its rank's own code."""
        return self.call.place.rpartition(":")[0]


@dataclass(frozen=True)
class Parting:
    """Where two or more ranks went different ways: what each has entered, by rank, and before."""

    entered: Mapping[int, Entered]
    before: Mapping[int, tuple[Entered, ...]]


def entered_in(recorded: Recorded, group: str) -> tuple[Entered, ...]:
    """List the collectives of one process group, the oldest first."""
    return tuple(each for one, each in all_entered(recorded) if one.group == group and not one.p2p)


def all_entered(recorded: Recorded) -> Iterator[tuple[Collective, Entered]]:
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


def gave_something_else(entered: Sequence[Entered], now: Entered) -> bool:
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
    strayed = [rank for rank, one in entered.items() if due_instead(parting.before[rank], one)]
    if len(strayed) == 1:
        return strayed[0]
    # One that is ahead has left something out.
    return max(
        entered,
        key=lambda rank: (
            steps.get(rank) or 0,
            _has_gone_round(parting.before[rank], entered[rank]),
            entered[rank].call.line,
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


def due_instead(before: Sequence[Entered], entered: Entered) -> Entered | None:
    """Give what should have come instead; None if this was due, or nothing is known of it."""
    due = next_of(before)
    return None if due is None or due.site == entered.site else due


def _has_gone_round(before: Sequence[Entered], entered: Entered) -> bool:
    """Tell whether a rank has turned back in its own code since its collective before."""
    return (
        bool(before)
        and before[-1].file == entered.file
        and entered.call.line <= before[-1].call.line
    )


def strayed(recorded: Recorded, at: CurrentCall | None = None) -> bool:
    """Tell whether a rank's last call, in whatever group or to one rank, was not what came before.

    A loop repeats itself; where nothing repeated, nothing is known.

    Args:
        recorded: What the rank has entered.
        at: What it is at now. Who makes a group has entered nothing that is recorded.

    """
    entered = [each for _, each in all_entered(recorded)]
    if at is not None and at.doing is Doing.RENDEZVOUS:
        return next_of(entered) is not None
    return len(entered) > 1 and due_instead(entered[:-1], entered[-1]) is not None


def last_noted(recorded: Recorded | None) -> str:
    """Give the last call that was recorded of a rank, in whatever group; empty if none was."""
    entered = [each for _, each in all_entered(recorded)] if recorded is not None else []
    return str(entered[-1].call) if entered else ""


def was_due(recorded: Recorded, at: CurrentCall | None = None) -> bool:
    """Tell whether a rank was in its last collective before, and has not gone astray since.

    Args:
        recorded: What the rank has entered.
        at: What it is at now.

    """
    entered = [each for one, each in all_entered(recorded) if not one.p2p]
    came_before = any(one.site == entered[-1].site for one in entered[:-1])
    return came_before and not strayed(recorded, at)


def uses_another(recorded: Recorded) -> bool:
    """Tell whether a rank's last collective went by another group, or root, than there before."""
    told = [
        (each.site, (one.group, one.root)) for one, each in all_entered(recorded) if not one.p2p
    ]
    if not told:
        return False
    site, now = told[-1]
    before = [way for place, way in told[:-1] if place == site]
    return bool(before) and now not in before


def came_before(entered: Sequence[Entered]) -> bool:
    """Tell whether a rank is in a collective that it has been in before, with the same tensors."""
    last = entered[-1]
    return any(one.site == last.site and one.gives_as(last) for one in entered[:-1])
