"""Causes that keep ranks from meeting: launchers that failed, and names that nobody knows."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Sequence

from metta_sandbox.autopsy.calls import Doing
from metta_sandbox.autopsy.case import Case
from metta_sandbox.autopsy.cause import Cause, Certainty, Kind
from metta_sandbox.autopsy.deaths import left_alone
from metta_sandbox.autopsy.kinds import (
    AT_RENDEZVOUS,
    LEFT_ALONE,
    STOPPED_LAUNCHER,
    UNREACHABLE,
    kind_of,
)
from metta_sandbox.autopsy.members import Member, Tree
from metta_sandbox.autopsy.seen import RecordedGroup
from metta_sandbox.autopsy.sentences import cause_of, of_rank
from metta_sandbox.words import ended

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
        if not (member.alive or left_alone(case, member)) or not (said := _complaint(case, member)):
            continue
        what = f"{member} can't reach another one: {said}"
        call = str(member.call) if member.call else ""
        return cause_of(
            case, "peer unreachable", what, node=member.node, rank=member.rank, call=call
        )
    return None


def met_a_closing_store(case: Case) -> Cause | None:
    """Find a rank that came to a store that was closed, while another one waits at the next one."""
    if (early := _met_early(case)) is not None:
        return _of_early(case, early)
    lost = [one for one in case.members if _lost_the_store(one)]
    if not lost or not any(_at_the_door(one) for one in case.members if one not in lost):
        return None
    first = lost[0]
    kind: Kind = "rank missing at rendezvous"
    came = _came_to(first)
    if first.alive:
        what = f"{came}, not to the next one, and still waits there"
        evidence = ("stack", "sockets")
        return of_rank(case, first, kind, what, str(first.call), evidence=evidence)
    what = f"{came}, not to the next one, and raised {first.error}"
    at = first.error.site if first.error else ""
    return of_rank(case, first, kind, what, at, certainty="likely")


def _came_to(member: Member) -> str:
    """Say to which store a rank came: that of its last hand-off, if it met the others before."""
    groups = _default_groups(member)
    # The last one may have been made of what it found in the store of the one before.
    met = sum(one.done_time is not None for one in groups[:-1])
    if not met:
        return "came to a store that was being closed"
    return f"connected to the store of hand-off {met} that rank 0 was closing"


def _default_groups(member: Member) -> list[RecordedGroup]:
    """List what a rank asked for by ``init_process_group``."""
    groups = member.life.groups if member.life else ()
    return [one for one in groups if one.port and one.name == _DEFAULT]


def _met_early(case: Case) -> Member | None:
    """Find a rank whose last group was made, or asked for in vain, before rank 0 asked for it."""
    first = next((one for one in case.members if one.rank == 0 and one.life), None)
    for member in case.members:
        asked = _default_groups(member)
        if first is None or member is first or len(asked) <= 1:
            continue
        last = asked[-1]
        same = _default_groups(first)[len(asked) - 1 : len(asked)]
        began = same[0].time if same else math.inf
        # Who came before that and has ended in it, may have caught what was raised.
        left = last.done_time is None and not member.alive and last.time < began < math.inf
        if left or (last.done_time is not None and began > last.done_time):
            return member
    return None


def _of_early(case: Case, member: Member) -> Cause:
    what = f"{_came_to(member)}, not to the next one"
    if member.error:
        what += f", and raised {member.error}"
    elif member.status is not None:
        what += f", and {ended(member.status)}"
    at = str(member.call) if member.call else member.error.site if member.error else ""
    met = _default_groups(member)[-1].done_time is not None
    certainty: Certainty = "certain" if met else "likely"
    kind: Kind = "rank missing at rendezvous"
    groups = ("each rank's groups",)
    return of_rank(case, member, kind, what, at, certainty=certainty, evidence=groups)


#: What PyTorch calls the group that ``init_process_group`` makes.
_DEFAULT = "0"
#: What a client of PyTorch's store raises when its server goes away.
_STORE_GONE = re.compile(
    r"Failed to (recv|send)|recv(Value|Vector|String)? failed|Connection was likely closed"
    r"|Connection reset by peer|Broken pipe"
)


def _lost_the_store(member: Member) -> bool:
    error = member.error
    if member.alive:
        return "closed by peer" in _states(member) and _at_the_door(member)
    if error is None or error.kind.rpartition(".")[2] not in {"DistNetworkError", "DistStoreError"}:
        return False
    return bool(_STORE_GONE.search(error.message))


def launchers_differ(case: Case) -> Cause | None:
    """Find launchers of several nodes that were told things that can't go together."""
    told = {
        host: options
        for host, tree in case.trees.items()
        if (options := _options(tree)) and options.get("nodes", "1") != "1"
    }
    by_number: dict[str, list[str]] = {}
    for host, options in told.items():
        by_number.setdefault(options.get("node rank", ""), []).append(host)
    for number, hosts in by_number.items():
        if number and len(hosts) > 1:
            free = sorted({str(each) for each in range(len(case.hosts))} - set(by_number))
            odd = next((one for one in hosts if str(case.hosts.index(one)) != number), hosts[-1])
            what = (
                f"{' and '.join(hosts)} were both started as node {number} by their launchers, "
                f"and nobody as node {', '.join(free)}"
            )
            return _of_launcher(case, odd, what)
    for name in ("nodes", "port", "address"):
        values = {host: options[name] for host, options in told.items() if name in options}
        if len(set(values.values())) > 1:
            counts = Counter(values.values())
            odd = min(values, key=lambda host: (counts[values[host]], -case.hosts.index(host)))
            each = ", ".join(f"{host} {value}" for host, value in values.items())
            return _of_launcher(case, odd, f"the launchers were told different {name}: {each}")
    return None


def _of_launcher(case: Case, host: str, what: str) -> Cause:
    return cause_of(
        case,
        "rank missing at rendezvous",
        what,
        node=host,
        rank=case.hosts.index(host),
        evidence=("the launchers' arguments",),
    )


#: What launchers call what they are told: torchrun, and accelerate.
_NAMES = {
    "node rank": ("node-rank", "machine-rank"),
    "nodes": ("nnodes", "num-machines"),
    "port": ("master-port", "main-process-port"),
    "address": ("master-addr", "main-process-ip", "rdzv-endpoint"),
}


def _options(tree: Tree) -> dict[str, str]:
    """Read what the launcher of a node was told."""
    pid = next((pid for pid in sorted({*tree.lives, *tree.processes}) if tree.is_launcher(pid)), 0)
    words = tree.words(pid).replace("=", " ").split()
    known = {name: key for key, names in _NAMES.items() for name in names}
    found: dict[str, str] = {}
    for word, value in itertools.pairwise(words):
        key = known.get(word.lstrip("-").replace("_", "-"))
        if key is not None and word.startswith("--"):
            found[key] = value
    return found


def meeting_differs(case: Case) -> Cause | None:
    """Find who meets elsewhere than the others: by its number, their number, the host or port."""
    if not any(_at_the_door(one) for one in case.members):
        return None
    known = [one for one in case.members if one.variables.get("MASTER_PORT")]
    return _number_twice(case, known) or next(
        (cause for name in _MEETING if (cause := _odd(case, known, name)) is not None), None
    )


#: What all ranks must have alike, or they never meet.
_MEETING = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE")


def _at_the_door(member: Member) -> bool:
    """Tell whether a rank waits at the rendezvous, or gave up there."""
    if member.alive:
        return member.call is not None and member.call.doing is Doing.RENDEZVOUS
    error = member.error
    return error is not None and any(AT_RENDEZVOUS.search(call) for call in error.calls)


def _number_twice(case: Case, known: Sequence[Member]) -> Cause | None:
    by_number: dict[str, list[Member]] = {}
    for one in known:
        number = one.variables.get("RANK", "")
        if one.life is not None and one.life.groups and one.life.groups[0].rank is not None:
            number = str(one.life.groups[0].rank)
        by_number.setdefault(number, []).append(one)
    for number, same in by_number.items():
        if number and len(same) > 1:
            free = sorted({*range(case.size)} - {int(each) for each in by_number if each.isdigit()})
            hosts = " and ".join(_where(one) for one in same)
            what = f"{hosts} both came as rank {number}"
            if free:
                what += f"; nobody came as rank {', '.join(map(str, free))}"
            odd = (
                next((one for one in same if one.node != case.hosts[int(number)]), same[-1])
                if (number.isdigit() and int(number) < len(case.hosts))
                else same[-1]
            )
            return cause_of(
                case,
                "rank missing at rendezvous",
                what,
                node=odd.node,
                rank=free[0] if free else odd.rank,
                evidence=("each rank's variables",),
            )
    return None


def _where(member: Member) -> str:
    return f"{member.node} (process {member.life.pid})" if member.life else member.node


def _odd(case: Case, known: Sequence[Member], name: str) -> Cause | None:
    values = {id(one): _value(one, name) for one in known}
    counts = Counter(value for value in values.values() if value)
    if len(counts) < 2:  # noqa: PLR2004 - all alike
        return None
    common = max(counts.values())
    changed = [one for one in known if one.life and name in one.life.changed]
    alone = [one for one in known if values[id(one)] and counts[values[id(one)]] < common]
    expected = [one for one in known if name == "WORLD_SIZE" and values[id(one)] != str(case.size)]
    outside = [one for one in known if name == "MASTER_ADDR" and _is_outside(one)]
    outside = outside if any(map(_has_met, known)) else []
    shown = alone or changed or outside
    odd = next(iter(shown or expected), None)
    if odd is None:
        told = ", ".join(f"{one} {values[id(one)]}" for one in known)
        what = f"ranks don't meet, as {name} differs: {told}"
        return cause_of(
            case,
            "rank missing at rendezvous",
            what,
            node=known[0].node,
            certainty="unknown",
            evidence=("each rank's variables",),
        )
    other = next(values[id(one)] for one in known if values[id(one)] not in ("", values[id(odd)]))
    others = "the other has" if len(known) == 2 else "the others have"  # noqa: PLR2004
    if name == "WORLD_SIZE":
        what = f"{odd} takes WORLD_SIZE for {values[id(odd)]}, where {others} {other}"
    else:
        what = f"{odd} meets at {name} {values[id(odd)]}, where {others} {other}; it never came"
    return cause_of(
        case,
        "rank missing at rendezvous",
        what,
        node=odd.node,
        rank=odd.rank,
        certainty="certain" if shown else "likely",
        evidence=("each rank's variables", *(("sockets",) if outside and shown is outside else ())),
    )


def _is_outside(member: Member) -> bool:
    """Tell whether a rank wants to meet the others, and has no connection to where."""
    return member.process is not None and _at_the_door(member) and not _has_met(member)


def _has_met(member: Member) -> bool:
    """Tell whether a rank has a connection to where it wants to meet the others."""
    return "established" in _states(member)


def _states(member: Member) -> set[str]:
    """Give the states of a rank's connections to where it wants to meet the others."""
    port = _value(member, "MASTER_PORT")
    sockets = member.process.sockets if member.process and port else ()
    return {one.state for one in sockets if one.remote.endswith(f":{port}")}


def _value(member: Member, name: str) -> str:
    """Give what a rank went by: what it asked for in its call, or else its environment."""
    group = member.life.groups[0] if member.life and member.life.groups else None
    asked = {
        "MASTER_ADDR": group.addr if group else "",
        "MASTER_PORT": group.port if group else "",
        "WORLD_SIZE": str(group.size) if group and group.size else "",
    }[name]
    return asked or member.variables.get(name, "")


def _complaint(case: Case, member: Member) -> str:
    """Quote what a rank, or the launcher that has not started it yet, says of its peers."""
    told = case.errors.get(member.rank)
    if not member.started:
        told = case.launcher_errors.get(member.node) or case.rollout_errors.get(member.node)
    said = told.unreached or str(told) if told else ""
    return _WHO_LOGS.sub("", said).rstrip(".") if UNREACHABLE.search(said) else ""


def _first_rank(case: Case, host: str) -> Member:
    return next(one for one in case.members if one.node == host)
