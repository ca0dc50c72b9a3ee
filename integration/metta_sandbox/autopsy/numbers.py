"""Which rank first had no number for its loss: by its events, or else by its log."""

from __future__ import annotations

import math
from collections.abc import Mapping

from metta_sandbox.autopsy.case import Case
from metta_sandbox.autopsy.cause import Cause
from metta_sandbox.autopsy.losses import LostMetric
from metta_sandbox.autopsy.members import Member
from metta_sandbox.autopsy.sentences import cause_of, of_rank


def no_number(case: Case) -> Cause | None:
    """Find the rank that had no number for its loss at the earliest step."""
    losses = _told(case) or (case.losses if _failed_over_numbers(case) else {})
    if not losses:
        return None
    first = _first(losses)
    member, lost = case.member(first[0]), losses[first[0]]
    # What was heard first may be what happened first.
    alone = len(first) == 1 or not lost.line
    who = f"{member}" if alone else "all ranks alike"
    return cause_of(
        case,
        "NaN",
        f"{who} {_at(lost)}",
        node=member.node,
        rank=member.rank if alone else None,
        step=lost.step if lost.named else None,
        certainty="certain" if len(first) == 1 and lost.named else "likely",
        evidence=("log",) if lost.line else (),
    )


def gave_up(case: Case, member: Member, what: str, call: str) -> Cause | None:
    """Find whose loss was lost first, where a rank has ended after its own was.

    The others lose theirs a step later, by its gradients, and may be the first to give up.

    Args:
        case: All that is known.
        member: The one that ended first.
        what: How, in words.
        call: Where.

    """
    losses = {**case.losses, **_told(case)}
    if member.rank not in losses:
        return None
    first = _first(losses)
    if len(first) == 1 and first[0] != member.rank:
        other = case.member(first[0])
        said = f"{_at(losses[other.rank])}; {member} {what}"
        return of_rank(case, other, "NaN", said, certainty="likely", evidence=("log",))
    lost, error = losses[member.rank], member.error
    if error is None or not error.message or not lost.line.endswith(str(error)):
        what = f"{what}, after it {_at(lost)}"
    return of_rank(case, member, "NaN", what, call)


def _told(case: Case) -> dict[int, LostMetric]:
    """Give each rank's first ``train.step`` event without a number, whoever was heard first."""
    losses: dict[int, LostMetric] = {}
    for event in case.events:
        if event.name != "train.step" or event.get("trial") != case.trial:
            continue
        if _is_no_number(event.get("loss", 0.0)):
            lost = LostMetric(int(event.get("step") or 0), "", named=True)
            losses.setdefault(int(event.get("rank") or 0), lost)
    return losses


def _first(losses: Mapping[int, LostMetric]) -> list[int]:
    """List the ranks whose loss was lost at the earliest step."""
    step = min(each.step for each in losses.values())
    return [rank for rank, each in losses.items() if each.step == step]


def _at(lost: LostMetric) -> str:
    at = f"step {lost.step}: {lost.line}" if lost.line else f"train.step {lost.step}"
    return f"had no number for a loss at {at}"


def _failed_over_numbers(case: Case) -> bool:
    """Tell whether all ranks came to their end, and the trial failed all the same."""
    return all(one.status == 0 for one in case.members)


def _is_no_number(loss: object) -> bool:
    return loss is None or (isinstance(loss, float) and math.isnan(loss))
