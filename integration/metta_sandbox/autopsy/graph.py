"""Who waits for whom: from what each rank is at to where all waiting ends.

A rank that is in a collective waits for those of its group that have not entered it. Where the
waiting ends is the cause: at a rank that waits for no other one, and that others wait for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from metta_sandbox.autopsy.calls import Doing
from metta_sandbox.autopsy.case import Case
from metta_sandbox.autopsy.cause import WaitFor
from metta_sandbox.autopsy.deaths import left_alone
from metta_sandbox.autopsy.kinds import NAMED_BY_PEERS
from metta_sandbox.autopsy.members import Member
from metta_sandbox.autopsy.seen import Collective


@dataclass(frozen=True)
class Graph:
    """The waits of one moment.

    Args:
        edges: Who waits for whom.

    """

    edges: tuple[WaitFor, ...]

    def count(self, rank: int) -> int:
        """Count who waits for a rank, directly or by way of others."""
        found: set[int] = set()
        new = {rank}
        while new:
            found |= new
            new = {one.rank for one in self.edges if one.awaited in new and one.rank not in found}
        return len(found) - 1

    def named(self) -> list[int]:
        """List the ranks of which others themselves say that they have not come."""
        return _apart(one for one in self.edges if one.evidence == SAID)[1]

    def apart(self) -> tuple[list[int], list[int]]:
        """List the ranks that are shown to wait, and those for which they do and that are not."""
        return _apart(one for one in self.edges if one.evidence != ASSUMED)

    def behind(self) -> list[tuple[int, int]]:
        """List who has entered a collective, each with one that is recorded not to have come."""
        return [
            (one.rank, one.awaited)
            for one in self.edges
            if one.evidence.startswith(RECORDED) and one.awaited is not None
        ]

    def shown(self, rank: int) -> bool:
        """Tell whether it is shown, and not only assumed, that somebody waits for a rank."""
        return any(one.awaited == rank and one.evidence != ASSUMED for one in self.edges)


#: The evidence of a wait that says what shows it.
RECORDED = "recorded"
SAID = "it says so itself"
#: That where nothing tells for whom of the others it is.
ASSUMED = "it waits for others, and this one is not there"


def _apart(edges: Iterable[WaitFor]) -> tuple[list[int], list[int]]:
    """List who waits by some edges for somebody known, and who is awaited and does not wait."""
    known = [(one.rank, one.awaited) for one in edges if one.awaited is not None]
    ahead = {rank for rank, _ in known}
    return sorted(ahead), sorted({awaited for _, awaited in known} - ahead)


def graph_of(case: Case) -> Graph:
    """Build the graph of what ranks wait for."""
    return Graph(
        tuple(
            edge for member in case.members if waits(case, member) for edge in _edges(case, member)
        )
    )


def waits(case: Case, member: Member) -> bool:
    """Tell whether a rank waits for others, or did until it gave up."""
    if member.alive or (member.call is not None and left_alone(case, member)):
        return member.call is not None and member.call.waits_for_others
    return left_alone(case, member)


def _edges(case: Case, member: Member) -> list[WaitFor]:
    call = member.place
    others = [one for one in case.members if one is not member]
    if named := _named(member):
        return [_edge(member, one, call, SAID) for one in others if one.rank in named]
    if peers := _peers(member):
        told = "the call's own arguments"
        return [_edge(member, one, call, told) for one in others if one.rank in peers]
    last = _last(member)
    if last is not None and not (member.call and member.call.doing is Doing.RENDEZVOUS):
        absent = [one for one in others if _is_behind(one, last)]
        if absent:
            evidence = f"{RECORDED}: it has entered number {last.number} of group {last.group}"
            return [_edge(member, one, call, evidence) for one in absent]
    place = place_of(member)
    absent = [one for one in others if not waits(case, one) or place_of(one) != place]
    if absent:
        return [_edge(member, one, call, ASSUMED) for one in absent]
    return [WaitFor(rank=member.rank, awaited=None, call=call, evidence="nobody is elsewhere")]


#: Calls that wait for one rank alone.
_TO_ONE = {"recv": "src", "broadcast": "src", "scatter": "src", "send": "dst"}


def _peers(member: Member) -> set[int]:
    """Name the one rank for which a call waits, if it says so."""
    call = member.call
    if call is None or call.name not in _TO_ONE:
        return set()
    return {rank for name, rank in call.peers if name == _TO_ONE[call.name]} - {member.rank}


def _edge(member: Member, other: Member, call: str, evidence: str) -> WaitFor:
    return WaitFor(rank=member.rank, awaited=other.rank, call=call, evidence=evidence)


def place_of(member: Member) -> tuple[str, str]:
    """Name the call in which a rank waits, or did, and the line."""
    if member.call is not None:
        return member.call.name, member.call.place
    error = member.error
    return (error.call, error.place) if error else ("", "")


def _last(member: Member) -> Collective | None:
    """Give the collective that a rank has entered last."""
    entries = [one for one in member.recorded.entries if not one.p2p] if member.recorded else []
    return entries[-1] if entries else None


def _is_behind(other: Member, last: Collective) -> bool:
    """Tell whether a rank has not entered a collective yet."""
    if last.group_ranks and other.rank not in last.group_ranks:
        return False
    if other.recorded is None:
        return False
    return last.number > max(
        (one.number for one in other.recorded.entries if one.group == last.group and not one.p2p),
        default=0,
    )


def _named(member: Member) -> set[int]:
    """Read which ranks PyTorch itself says have not come."""
    error = member.error
    if error is None:
        return set()
    return {
        int(number)
        for found in NAMED_BY_PEERS.finditer(error.message)
        for number in found[1].replace(" ", "").split(",")
        if number
    }


def order(graph: Graph, members: Sequence[Member]) -> list[Member]:
    """Sort ranks that wait for nobody: those that most others wait for come first."""
    position: Mapping[Doing, int] = {doing: number for number, doing in enumerate(_ORDER)}

    def key(one: Member) -> tuple[bool, bool, int, int, int]:
        doing = one.call.doing if one.call else Doing.UNKNOWN
        # Who looks again and again waits for somebody, too.
        polls = one.call is not None and one.call.polls
        most = -graph.count(one.rank)
        return polls, not graph.shown(one.rank), position[doing], most, one.rank

    return sorted(members, key=key)


#: What keeps a rank from coming, the surest first.
_ORDER = (
    *(Doing.STOPPED, Doing.LOCK, Doing.GIL, Doing.IDLE, Doing.API, Doing.TRACKER),
    *(Doing.BUSY, Doing.STARTING, Doing.STORE, Doing.UNKNOWN),
    *(Doing.COLLECTIVE, Doing.RENDEZVOUS),
)
