"""Which rank waits in its ``finally`` or ``except`` for others that know of no exception."""

from __future__ import annotations

from metta_sandbox.autopsy.case import Case
from metta_sandbox.autopsy.cause import Cause
from metta_sandbox.autopsy.deaths import clashed, told, waited_in_vain
from metta_sandbox.autopsy.kinds import kind_of
from metta_sandbox.autopsy.members import Member
from metta_sandbox.autopsy.seen import Collective, Frame, Raised
from metta_sandbox.autopsy.sentences import of_rank
from metta_sandbox.autopsy.sequences import strayed
from metta_sandbox.autopsy.words import Exc, of_raised


def waits_as_it_handles(case: Case) -> Cause | None:
    """Find the one rank that has raised, and meets the others no more as it cleans up.

    Programs handle exceptions that they foresee, too, and go on. One is only told where its rank is
    at another call than the others, has not come there in this way before, and no other rank has
    gone astray where this one has not.
    """
    found = [(one, error) for one in case.members if (error := _handled(one)) is not None]
    others = [one for one in case.members if all(one is not each for each, _ in found)]
    if len(found) != 1 or not others:
        return None
    member, error = found[0]
    if not all(clashed(one) or _is_elsewhere(one, member) for one in others):
        return None
    if not _strays(member) and any(map(_strays, others)):
        return None
    return of_rank(
        case,
        member,
        kind_of(error),
        f"raised {told(error)}{error.in_site}, and waits in {member.call} as it handles that",
        error.site,
        certainty="likely",
        evidence=("stack", "collectives", "exception"),
    )


def _handled(member: Member) -> Exc | None:
    """Give what a rank handles while it waits for others, if it never did so there before."""
    last = _last(member)
    if last is None or last.handling is None or not (member.call and member.call.waits_for_others):
        return None
    assert member.recorded is not None
    site = _site(member, last)
    if any(one.handling and _site(member, one) == site for one in member.recorded.entries[:-1]):
        return None
    error = of_raised(Raised(chain=(last.handling,)))
    return None if error is None or waited_in_vain(error) else error


def _last(member: Member) -> Collective | None:
    return member.recorded.entries[-1] if member.recorded and member.recorded.entries else None


def _site(member: Member, entry: Collective) -> tuple[str, tuple[Frame, ...]]:
    """Give the collective's name, and the stack from which it was entered."""
    stacks = member.recorded.stacks if member.recorded else ()
    return entry.name, stacks[entry.stack] if entry.stack < len(stacks) else ()


def _is_elsewhere(one: Member, member: Member) -> bool:
    """Tell whether a rank waits for others, at another call than the one that handles."""
    return one.call is not None and one.call.waits_for_others and str(one.call) != str(member.call)


def _strays(member: Member) -> bool:
    return member.recorded is not None and strayed(member.recorded, member.call)
