"""Which rank first had no number for its loss: by its events, or else by its log."""

from __future__ import annotations

import math

from metta_sandbox.autopsy.case import Case
from metta_sandbox.autopsy.cause import Cause
from metta_sandbox.autopsy.sentences import cause_of


def no_number(case: Case) -> Cause | None:
    """Find the rank that had no number for its loss at the earliest step."""
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
