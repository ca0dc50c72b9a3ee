"""How ranks' processes, or the user's commands, ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from metta_sandbox.node.agent.events import Name
from metta_sandbox.scenario.base import Misfit, NamedHosts
from metta_sandbox.scenario.expect.bounds import Which, whose
from metta_sandbox.scenario.expect.judgement import Finding, Judgement, judge, unclear, unlike
from metta_sandbox.scenario.expect.kind import CheckKind, CheckPair
from metta_sandbox.scenario.expect.selection import best
from metta_sandbox.scenario.search import Sweep
from metta_sandbox.scenario.workload import Workload
from metta_sandbox.words import many

if TYPE_CHECKING:
    from metta_sandbox.checks.evidence import Evidence, PlacedEvent


def _statuses(value: Any) -> Any:
    if value == "nonzero":
        return value
    found = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if not found or any(not isinstance(one, int) or isinstance(one, bool) for one in found):
        raise ValueError("expected an exit status, a list of some, or nonzero")
    return found


Statuses = Annotated[
    tuple[int, ...] | str,
    BeforeValidator(_statuses, json_schema_input_type=int | list[int] | Literal["nonzero"]),
]


class ExitsCheck(CheckKind):
    """How ranks' processes end; with ``workload.run``, how its commands do."""

    key = "exits"
    about = "How ranks exit."
    example = "exits: {status: 0}"

    status: Statuses = Field(
        description="The exit status, some of them, or `nonzero`. Negative is the signal that "
        "ended it: -9."
    )
    of: Which = Field(
        default="all",
        description="Which trials: all, any, best, first, last, or a number from 1. With "
        "`workload.run`, its commands are meant, one on each node.",
    )
    rank: int | None = Field(default=None, ge=0, description="Of this rank. Default: all.")
    node: str | None = Field(default=None, description="Of this node's ranks. Default: all nodes'.")

    @property
    def hosts(self) -> NamedHosts:
        """The node, if one is named."""
        return () if self.node is None else ((("node",), self.node),)

    def hold(self, status: int) -> bool:
        """Tell whether a status is one of those allowed."""
        return status != 0 if isinstance(self.status, str) else status in self.status

    @property
    def voids(self) -> frozenset[str]:
        """The standing check of trials, which need not complete where ranks fail."""
        return frozenset({"trials"})

    @property
    def wanted(self) -> str:
        """Which status processes must end with."""
        if isinstance(self.status, str):
            return "a status other than 0"
        return f"status {' or '.join(map(str, self.status))}"

    def impossible(self, ranks: int, _workload: Workload, _sweep: Sweep) -> Iterator[Misfit]:
        """Find a rank that is not there."""
        if self.rank is not None and self.rank >= ranks:
            yield ("rank",), f"there is no rank {self.rank} among {many(ranks, 'rank')}"

    def __str__(self) -> str:
        who = "every rank" if self.rank is None else f"rank {self.rank}"
        place = "" if self.node is None else f" on {self.node}"
        return f"{who}{place} of {whose(self.of)} exits with {self.wanted}"


def check(expected: ExitsCheck, evidence: Evidence) -> Judgement:
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
    by_trial: dict[int, dict[int, PlacedEvent]] = {trial: {} for trial in trials}
    for each in _named(evidence, "rank.exited"):
        trial, rank = each.trial_of_group, each.event.get("rank")
        if trial in by_trial and isinstance(rank, int):
            by_trial[trial][rank] = each
    if silent := [trial for trial, ends in by_trial.items() if not ends]:
        told = ", ".join(map(str, silent))
        return unclear(f"no rank's end was told in trial {told}", "timeline.jsonl")
    ranks = _ranks(expected, evidence)
    return _judge(expected, [(f"trial {trial}", ends, ranks) for trial, ends in by_trial.items()])


def _judge(
    expected: ExitsCheck, cases: Iterable[tuple[str, dict[int, PlacedEvent], list[int]]]
) -> Judgement:
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


def _named(evidence: Evidence, name: Name) -> list[PlacedEvent]:
    return [each for each in evidence.moments if each.event.name == name]


def _trials(of: str | int, evidence: Evidence) -> list[int]:
    begun = sorted(evidence.begun)
    if isinstance(of, int):
        return [number for number in begun if number == of]
    if of == "best":
        return [trial.trial for trial in best(evidence, evidence.completed)]
    return {"first": begun[:1], "last": begun[-1:]}.get(of, begun)


def _ranks(expected: ExitsCheck, evidence: Evidence) -> list[int]:
    places = evidence.scenario.workload.trainer.ranks_per_node
    return [
        rank
        for rank in range(evidence.scenario.ranks)
        if expected.rank in (None, rank)
        and expected.node in (None, evidence.scenario.hosts[rank // places])
    ]


def _nodes(expected: ExitsCheck, evidence: Evidence) -> list[int]:
    return [
        number
        for number, host in enumerate(evidence.scenario.hosts)
        if expected.rank in (None, number) and expected.node in (None, host)
    ]


def _node_of(evidence: Evidence, moment: PlacedEvent) -> int:
    hosts = evidence.scenario.hosts
    node = moment.event.get("node")
    return hosts.index(node) if node in hosts else -1


CHECK = CheckPair(ExitsCheck, check)
