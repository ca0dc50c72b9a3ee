"""Ranks met: they formed one process group of all that were asked for.

What each rank told of its groups stands in ``groups.json``; see ``autopsy.lives`` for how that is
known. Of a process that nobody could listen to nothing stands there, and nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from metta_sandbox.autopsy.seen import RecordedLife
from metta_sandbox.checks.evidence import Evidence, TrialRecord
from metta_sandbox.scenario.expect.judgement import Finding, Judgement, judge, unlike
from metta_sandbox.scenario.expect.selection import title
from metta_sandbox.words import many

FILE_NAME = "groups.json"


class Rank(BaseModel):
    """A rank's process, and the process groups that it formed, each as its number and their size.

    ``trial`` is None below a command that takes the rollout's place. ``rank`` is the number that
    its launcher gave it, or else that which it got in its first group.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    trial: int | None = None
    node: str
    pid: int
    rank: int | None = None
    groups: tuple[tuple[int, int], ...] = ()


_RANKS = TypeAdapter(tuple[Rank, ...])


def ranks_of(lives: Mapping[str, Sequence[RecordedLife]]) -> tuple[Rank, ...]:
    """Pick from what processes told, by node, those that were ranks of a trial or formed groups."""
    found = []
    for node, each in lives.items():
        for life in each:
            formed = tuple(
                (one.rank, one.size)
                for one in life.groups
                if one.done_time is not None and one.size and one.rank is not None and one.rank >= 0
            )
            told = {**life.environ, **life.changed}.get("RANK", "")
            if formed or (told and life.trial is not None):
                rank = int(told) if told.isdigit() else formed[0][0] if formed else None
                who = {"trial": life.trial, "node": node, "pid": life.pid, "rank": rank}
                found.append(Rank.model_validate({**who, "groups": formed}))
    return tuple(found)


def to_json(lives: Mapping[str, Sequence[RecordedLife]]) -> str:
    """Write what ranks told of their groups, a rank a line; empty if there is none."""
    ranks = [rank.model_dump_json() for rank in ranks_of(lives)]
    return "[\n" + ",\n".join(ranks) + "\n]\n" if ranks else ""


def check(evidence: Evidence) -> Judgement:
    """Compare the sizes of the groups that each rank formed with that which was asked for."""
    if not evidence.completed:
        return judge(["no trial completed, so nobody can tell whether its ranks met"], "")
    trainer = evidence.scenario.workload.trainer
    said = trainer.world_size
    # Who starts the ranks itself decides how many there are on a node.
    counted = said if isinstance(said, int) else evidence.scenario.ranks
    wanted = None if trainer.launcher == "own" and said is None else counted
    path, ranks = _told(evidence)
    ranks = tuple(rank for rank in ranks if rank.trial is not None)
    problems: list[Finding] = []
    never: list[TrialRecord] = []
    for trial in evidence.completed:
        of_trial = [rank for rank in ranks if rank.trial == trial.trial]
        formed = [rank for rank in of_trial if rank.groups]
        if of_trial and not formed:
            never.append(trial)
        elif wanted is None:
            problems += _apart(trial, formed, evidence.where(path))
        else:
            problems += _other_sizes(trial, formed, wanted, evidence.where(path))
    told = {rank.trial for rank in ranks}
    alone = ""
    if never:
        which = title(never[0]) if len(never) == 1 else many(len(never), "completed trial")
        alone = f"no rank of {which} formed a process group"
        if isinstance(said, int):
            problems.append(unlike("process groups", f"one of {many(said, 'rank')}", alone))
    seen = alone or f"{many(len(told), 'trial')} told of"
    judgement = judge(problems, seen, [evidence.where(path)] if ranks else [])
    if problems or not alone or counted == 1:  # one alone need not meet anybody
        return judgement
    asked = f", and {many(counted, 'rank')} were asked for"
    hint = "if that is meant, say workload.trainer.world_size: any"
    return judgement.warning(f"{alone}{asked}; {hint}")


def check_commands(evidence: Evidence) -> Judgement:
    """Warn of a ``run`` whose nodes each formed process groups without the others.

    How many ranks the command meant to start nobody can tell, so it passes all the same.
    """
    path, formed = evidence.folder / FILE_NAME, formed_groups(evidence)
    apart = [] if _spans(formed) else list(_worlds(formed))
    seen = f"{many(len(formed), 'rank')} formed process groups"
    judgement = judge([], seen, [evidence.where(path)] if formed else [])
    told = (
        f"{' and '.join(nodes)} each formed a process group of {many(size, 'rank')} of their own"
        for size, nodes in apart
    )
    return judgement.warning("; ".join(told)) if apart else judgement


def formed_groups(evidence: Evidence) -> list[Rank]:
    """Give the ranks that formed process groups."""
    return [rank for rank in _told(evidence)[1] if rank.groups]


def _spans(formed: Sequence[Rank]) -> bool:
    """Tell whether some group needed the ranks of several nodes to be whole."""
    there: dict[tuple[str, int], set[int]] = {}
    for rank in formed:
        number, size = rank.groups[0]
        there.setdefault((rank.node, size), set()).add(number)
    return any(numbers != set(range(size)) for (_, size), numbers in there.items())


def _told(evidence: Evidence) -> tuple[Path, tuple[Rank, ...]]:
    path = evidence.folder / FILE_NAME
    written = evidence.size(path) is not None
    return path, _RANKS.validate_json(evidence.read(path)) if written else ()


def _other_sizes(
    trial: TrialRecord, formed: Sequence[Rank], wanted: int, where: str
) -> Iterator[Finding]:
    """Tell the ranks that formed groups, and none of the right size."""
    for rank in formed:
        sizes = sorted({size for _, size in rank.groups})
        if wanted not in sizes:
            about = f"{title(trial)}: process group of rank {rank.rank} on {rank.node}"
            yield unlike(about, many(wanted, "rank"), " and ".join(map(str, sizes)), where)


def _apart(trial: TrialRecord, formed: Sequence[Rank], where: str) -> Iterator[Finding]:
    for size, nodes in _worlds(formed):
        about = f"{title(trial)}: process groups of {many(size, 'rank')}"
        yield unlike(about, "one on all nodes", f"one each on {', '.join(nodes)}", where)


def _worlds(formed: Sequence[Rank]) -> Iterator[tuple[int, list[str]]]:
    """Give the nodes whose first groups have a number 0 each, so that they are not the same one."""
    nodes: dict[int, set[str]] = {}
    for rank in formed:
        number, size = rank.groups[0]
        if number == 0:
            nodes.setdefault(size, set()).add(rank.node)
    for size, places in sorted(nodes.items()):
        if len(places) > 1:
            yield size, sorted(places)
