"""From what was seen to one sentence: what happened first, to whom, and who waits for whom.

The cause is where all waiting ends (``graph``): at a node that is gone, a rank that ended by
itself, one that does not come to where the others wait. What ranks have entered (``mismatch``)
and where they meet (``meeting``) tells what keeps them apart where all of them wait.
"""

from __future__ import annotations

from collections.abc import Callable

from metta_sandbox.autopsy.absent import ended_early, rank_absent
from metta_sandbox.autopsy.case import Case
from metta_sandbox.autopsy.cause import Cause, Certainty
from metta_sandbox.autopsy.deaths import death_of, failed_by_themselves
from metta_sandbox.autopsy.graph import graph_of
from metta_sandbox.autopsy.handled import waits_as_it_handles
from metta_sandbox.autopsy.kinds import TOLD_TO_END, TRACKER, kind_of
from metta_sandbox.autopsy.meeting import (
    cannot_reach,
    launcher_failed,
    launchers_differ,
    meeting_differs,
    met_a_closing_store,
)
from metta_sandbox.autopsy.mismatch import collectives_differ
from metta_sandbox.autopsy.nodes import different_overrides, name_again, node_lost, node_silent
from metta_sandbox.autopsy.numbers import gave_up, no_number
from metta_sandbox.autopsy.rollouts import rollout_broke, rollout_died, rollout_hangs
from metta_sandbox.autopsy.sentences import cause_of, of_rank
from metta_sandbox.autopsy.together import (
    all_wait,
    left_out,
    lost_a_peer,
    named_by_others,
    one_clashed,
)
from metta_sandbox.autopsy.words import Exc


def diagnose(case: Case) -> Cause | None:
    """Name the cause, or None if nothing of what is known points to one."""
    looks: tuple[Callable[[Case], Cause | None], ...] = (
        node_lost,
        node_silent,
        different_overrides,
        name_again,
        launchers_differ,
        launcher_failed,
        _rank_failed,
        no_number,
        rollout_broke,
        meeting_differs,
        cannot_reach,
        met_a_closing_store,
        waits_as_it_handles,
        collectives_differ,
        rank_absent,
        ended_early,
        one_clashed,
        left_out,
        named_by_others,
        all_wait,
        lost_a_peer,
        _not_scored,
        rollout_died,
        rollout_hangs,
    )
    cause = next((cause for look in looks if (cause := look(case)) is not None), None)
    if cause is None:
        return None
    if case.cut_short and cause.kind in _MIGHT_HAVE_COME and cause.certainty == "certain":
        cause = cause.model_copy(update={"certainty": "likely"})
    return cause.model_copy(update={"waits": graph_of(case).edges})


#: Kinds of who is late. Where the deadline has ended a sweep that was not silent, it only may be
#: the cause: one that is as slow as all others looks alike.
_MIGHT_HAVE_COME = frozenset({"straggler", "tracker failed", "API slow"})


def _rank_failed(case: Case) -> Cause | None:
    """Find the first rank that ended badly of its own."""
    failed = failed_by_themselves(case)
    if not failed:
        return None
    first = failed[0]
    if first.status in TOLD_TO_END and (broke := rollout_broke(case)) is not None:
        # It was its own rollout that told it to.
        return broke
    kind, what, call = death_of(case, first)
    if kind == "rank missing at rendezvous":
        return None
    exits = kind in {"process died", "NaN"} or (first.error and first.error.kind == "SystemExit")
    of_its_own = exits and (first.status or 0) > 0
    if of_its_own and (cause := gave_up(case, first, what, call)) is not None:
        return cause
    again = f", in attempt {first.generation + 1}" if first.generation else ""
    certainty: Certainty = "certain" if first.status is not None else "likely"
    return of_rank(case, first, kind, f"{what}{again}", call, certainty=certainty)


def _not_scored(case: Case) -> Cause | None:
    """Find why a trial failed that all ranks trained to its end."""
    reasons = [
        str(event.get("reason"))
        for event in case.events
        if event.name == "observation.recorded"
        and event.get("trial") == case.trial
        and event.get("failed")
    ]
    if not reasons or any(one.status != 0 for one in case.members):
        return None
    error = Exc("", reasons[-1])
    kind = "tracker failed" if TRACKER.search(error.message) else kind_of(error)
    what = f"all ranks ended well, and rank 0 ({case.hosts[0]}) could not conclude: {error}"
    return cause_of(case, kind, what, node=case.hosts[0], rank=0)
