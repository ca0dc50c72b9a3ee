"""Sentences about a cause: what happened, in which trial, and who waits because of it."""

from __future__ import annotations

from collections.abc import Sequence

from metta_sandbox.autopsy.case import Case
from metta_sandbox.autopsy.cause import Cause, Certainty, Kind, WaitingRank
from metta_sandbox.autopsy.deaths import waited_in_vain
from metta_sandbox.autopsy.members import Member
from metta_sandbox.autopsy.waits import lost_threads, told_of_lost
from metta_sandbox.words import one_line

#: How many of those who wait are named.
_NAMED = 3


def of_rank(
    case: Case,
    member: Member,
    kind: Kind,
    what: str,
    call: str = "",
    *,
    certainty: Certainty = "certain",
    evidence: Sequence[str] = (),
) -> Cause:
    """Name a rank, what it did or is at, and who waits for it."""
    place = call.rpartition(", ")[2]
    at = f" in {call}" if call and place not in what and kind not in _HELD else ""
    if kind == "collective mismatch":
        # It may have gone on without one of its threads.
        lost = lost_threads(member.life)
        at += f"; {told_of_lost(lost)}" if lost else ""
    return cause_of(
        case,
        kind,
        f"{member} {what}{at}",
        node=member.node,
        rank=member.rank,
        step=member.step,
        call=call,
        certainty=certainty,
        evidence=evidence or seen_of(member),
    )


def likely_mismatch(
    case: Case, member: Member, what: str, call: str = "", evidence: Sequence[str] = ()
) -> Cause:
    """Name the rank that seems to have gone another way than the others, and how."""
    kind: Kind = "collective mismatch"
    return of_rank(case, member, kind, what, call, certainty="likely", evidence=evidence)


def seen_of(member: Member) -> tuple[str, ...]:
    """Name what is known of a rank."""
    seen = {
        "stack": member.process is not None and bool(member.process.threads),
        "exit status": member.status is not None,
        "exception": member.error is not None and bool(member.error.kind),
        "collectives": member.recorded is not None,
    }
    return tuple(name for name, there in seen.items() if there)


#: Kinds whose words say already where.
_HELD = frozenset({"stopped", "straggler", "waiting for a lock", "waiting for the GIL", "API slow"})


def cause_of(
    case: Case,
    kind: Kind,
    what: str,
    *,
    node: str,
    rank: int | None = None,
    step: int | None = None,
    call: str = "",
    waiting: Sequence[WaitingRank] | None = None,
    certainty: Certainty = "certain",
    evidence: Sequence[str] = (),
) -> Cause:
    """Name a cause, when it was, and who waits because of it: other ranks, or whoever is given."""
    if waiting is None:
        waiting = _waiting(case, rank) if case.begun or case.script else ()
    known = None if "train.step" in what else step
    return Cause(
        kind=kind,
        sentence=one_line(f"{what}{in_trial(case, known)}{told_of(waiting)}"),
        node=node,
        rank=rank,
        trial=case.trial,
        step=step,
        call=call,
        waiting=tuple(waiting),
        certainty=certainty,
        evidence=tuple(evidence),
    )


def _waiting(case: Case, guilty: int | None) -> tuple[WaitingRank, ...]:
    """Find who waits for the guilty one, or did until it was left alone."""
    found = []
    for one in case.members:
        if one.rank == guilty:
            continue
        if one.call is not None and one.call.waits_for_others:
            found.append(WaitingRank(rank=one.rank, call=str(one.call)))
        elif one.error is not None and waited_in_vain(one.error) and one.error.place:
            call = f"`{one.error.call}`, " if one.error.call else ""
            found.append(WaitingRank(rank=one.rank, call=f"{call}{one.error.place}", left=True))
    return tuple(found)


def in_trial(case: Case, step: int | None) -> str:
    """Say in which trial it was, and after which step, if that is known."""
    after = "" if step is None else f" after train.step {step}"
    return after if case.trial is None else f" in trial {case.trial}{after}"


def told_of(waiting: Sequence[WaitingRank]) -> str:
    """Say who waits, and where."""
    if not waiting:
        return ""
    told = [
        f"rank {one.rank} {'was left waiting' if one.left else 'waits'} in {one.call}"
        for one in waiting[:_NAMED]
    ]
    more = f" and {len(waiting) - _NAMED} more" if len(waiting) > _NAMED else ""
    return f"; {', '.join(told)}{more}"
