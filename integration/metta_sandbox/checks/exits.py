"""How ranks' processes, or the user's commands, ended."""

from __future__ import annotations

from collections.abc import Iterable

from metta_sandbox.checks.evidence import Evidence, Moment, trial_of
from metta_sandbox.checks.judgement import Finding, Judgement, judge, unclear, unlike
from metta_sandbox.checks.selection import best
from metta_sandbox.node.agent.events import Name
from metta_sandbox.scenario.expect import Exits
from metta_sandbox.words import many


def check(expected: Exits, evidence: Evidence) -> Judgement:
    """Check the exit status of each rank that is meant, in each trial that is meant."""
    if evidence.scenario.workload.run is not None:
        ends = {_node_of(evidence, each): each for each in _named(evidence, "command.exited")}
        return _judge(expected, [("the command", ends, _nodes(expected, evidence))])
    trials = _trials(expected.of, evidence)
    if not trials:
        which = f"trial {expected.of}" if isinstance(expected.of, int) else "such a trial"
        return judge(
            [f"expected {which}, saw none: {many(len(evidence.begun), 'trial')} began"], ""
        )
    by_trial: dict[int, dict[int, Moment]] = {trial: {} for trial in trials}
    for each in _named(evidence, "rank.exited"):
        trial, rank = trial_of(each.event), each.event.get("rank")
        if trial in by_trial and isinstance(rank, int):
            by_trial[trial][rank] = each
    if silent := [trial for trial, ends in by_trial.items() if not ends]:
        told = ", ".join(map(str, silent))
        return unclear(f"no rank's end was told in trial {told}", "timeline.jsonl")
    ranks = _ranks(expected, evidence)
    return _judge(expected, [(f"trial {trial}", ends, ranks) for trial, ends in by_trial.items()])


def _judge(expected: Exits, cases: Iterable[tuple[str, dict[int, Moment], list[int]]]) -> Judgement:
    problems: list[list[Finding]] = []
    places: list[str] = []
    statuses: set[object] = set()
    count = 0
    for title, ends, ranks in cases:
        wrong = []
        if not ranks:
            wrong.append(unlike(title, expected.wanted, "no such rank"))
        for rank in ranks:
            end = ends.get(rank)
            status = None if end is None else end.event.get("status")
            if isinstance(status, int) and expected.hold(status):
                places.append(end.place if end else "")
                statuses.add(status)
                count += 1
                continue
            seen = "no end of it" if end is None else f"status {status}"
            place = "timeline.jsonl" if end is None else end.place
            wrong.append(unlike(f"{title}: rank {rank}", expected.wanted, seen, place))
        problems.append(wrong)
    found = (
        []
        if expected.of == "any" and not all(problems)
        else [each for some in problems for each in some]
    )
    shown = ", ".join(str(status) for status in sorted(statuses, key=str))
    return judge(found, f"{many(count, 'end')} with status {shown}", places)


def _named(evidence: Evidence, name: Name) -> list[Moment]:
    return [each for each in evidence.moments if each.event.name == name]


def _trials(of: str | int, evidence: Evidence) -> list[int]:
    begun = sorted(evidence.begun)
    if isinstance(of, int):
        return [number for number in begun if number == of]
    if of == "best":
        return [trial.trial for trial in best(evidence, evidence.completed)]
    return {"first": begun[:1], "last": begun[-1:]}.get(of, begun)


def _ranks(expected: Exits, evidence: Evidence) -> list[int]:
    places = evidence.scenario.workload.trainer.ranks_per_node
    return [
        rank
        for rank in range(evidence.scenario.ranks)
        if expected.rank in (None, rank)
        and expected.node in (None, evidence.scenario.hosts[rank // places])
    ]


def _nodes(expected: Exits, evidence: Evidence) -> list[int]:
    return [
        number
        for number, host in enumerate(evidence.scenario.hosts)
        if expected.rank in (None, number) and expected.node in (None, host)
    ]


def _node_of(evidence: Evidence, moment: Moment) -> int:
    hosts = evidence.scenario.hosts
    node = moment.event.get("node")
    return hosts.index(node) if node in hosts else -1
