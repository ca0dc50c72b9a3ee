"""Causes that keep ranks from meeting: launchers that failed, and names that nobody knows."""

from __future__ import annotations

import re

from metta_sandbox.autopsy.case import Case, Member
from metta_sandbox.autopsy.cause import Cause
from metta_sandbox.autopsy.kinds import LEFT_ALONE, STOPPED_LAUNCHER, UNREACHABLE, kind_of
from metta_sandbox.autopsy.sentences import cause_of
from metta_sandbox.autopsy.words import Exc

#: How torch's own lines in a log begin: ``[W1123 08:26:04.020 socket.cpp:764] [c10d] ``.
_WHO_LOGS = re.compile(r"^(\[[^\]]*\]\s*)+")


def launcher_failed(case: Case) -> Cause | None:
    """Find a launcher that failed by itself before it had started a rank of its node."""
    for host in case.hosts:
        error = case.launcher_errors.get(host)
        first = _first_rank(case, host)
        if error is None or any(one.started for one in case.members if one.node == host):
            continue
        said = str(error)
        if LEFT_ALONE.search(said) or STOPPED_LAUNCHER.search(said):
            continue
        kind = kind_of(error)
        # Words that are no exception, and of no kind that is known, may be about anything.
        if error.kind or kind != "exception":
            what = f"the launcher of rank {first.rank} ({host}) failed before it began: {said}"
            return cause_of(case, kind, what, node=host, rank=first.rank)
    return None


def cannot_reach(case: Case) -> Cause | None:
    """Find a rank that still tries to reach another one whose name or network it doesn't know."""
    for member in case.members:
        if not member.alive or not (said := _complaint(case, member)):
            continue
        what = f"rank {member.rank} ({member.node}) can't reach another one: {said}"
        call = str(member.call) if member.call else ""
        return cause_of(
            case, "peer unreachable", what, node=member.node, rank=member.rank, call=call
        )
    return None


def _complaint(case: Case, member: Member) -> str:
    """Quote what a rank, or the launcher that has not started it yet, says of its peers."""
    told = case.errors.get(member.rank)
    if not member.started:
        told = case.launcher_errors.get(member.node)
    said = str(told or Exc(""))
    return _WHO_LOGS.sub("", said).rstrip(".") if UNREACHABLE.search(said) else ""


def _first_rank(case: Case, host: str) -> Member:
    return next(one for one in case.members if one.node == host)
