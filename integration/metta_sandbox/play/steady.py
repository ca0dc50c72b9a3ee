"""The steady state: what must hold before a sweep starts, and again when it is over.

The vocabulary is Chaos Toolkit's: https://chaostoolkit.org/reference/concepts/.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from metta_sandbox.matching import Matcher, UnmatchedError
from metta_sandbox.play.node_commands import Executed
from metta_sandbox.probes import source
from metta_sandbox.report.results import CheckResult
from metta_sandbox.scenario.expect import ExpectationItem
from metta_sandbox.scenario.expect.judgement import Finding, Judgement, judge, unclear, unlike
from metta_sandbox.scenario.expect.kind import CheckKind
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.names import API
from metta_sandbox.scenario.steady_state import (
    ApiState,
    CommandState,
    NodesState,
)
from metta_sandbox.stack.engines.base import HUB
from metta_sandbox.verdict import Verdict, worst
from metta_sandbox.words import size, time

#: Seconds for a probe of ours, which takes a fraction of one on an idle machine.
_PATIENCE = 30.0
_LONGEST = 200

#: Runs a command on some nodes within so many seconds.
Execute = Callable[[str, Mapping[str, Sequence[str]], float], Mapping[str, Executed]]


@dataclass(frozen=True)
class Observer:
    """Looks at a stack from its nodes.

    Args:
        hosts: The nodes, by rank.
        python: Their interpreter.
        local: Whether nodes are processes of this machine, which have no names of their own.
        execute: Runs a command on them.

    """

    hosts: tuple[str, ...]
    python: str
    local: bool
    execute: Execute

    def look(self, item: ExpectationItem) -> Judgement:
        """Judge one item of the steady state; what breaks meanwhile makes it inconclusive."""
        try:
            return self._judge(item.said)
        except UnmatchedError as error:
            return unclear(f"{error.where}: {error}")
        except Exception as error:  # noqa: BLE001 - a broken look says unknown, never passed
            return unclear(f"the look itself broke: {type(error).__name__}: {error}")

    def _judge(self, said: CheckKind) -> Judgement:
        if isinstance(said, NodesState):
            return self._nodes(said)
        if isinstance(said, ApiState):
            return self._api(said)
        if isinstance(said, CommandState):
            return self._command(said)
        raise TypeError(f"nobody looks at {type(said).__name__}")

    def _nodes(self, said: NodesState) -> Judgement:
        names = () if self.local or not said.names else self.hosts
        command = [self.python, "-c", source("look_at_node"), *names]
        ends = self.execute("steady-state", dict.fromkeys(self.hosts, command), _PATIENCE)
        problems = []
        for host, end in ends.items():
            answer = next(iter(end.answers), None)
            if answer is None:
                problems.append(unlike(host, "it to be ready", _told(end)))
                continue
            if answer["unresolved"]:
                seen = f"it does not resolve {', '.join(answer['unresolved'])}"
                problems.append(unlike(host, "it to resolve every node's name", seen))
            for what, least in (("disk", said.disk), ("memory", said.memory)):
                if least is not None and not (has := answer[what] or 0) >= least:
                    expected = f"{size(least)} of {what}"
                    seen = size(has) if answer[what] is not None else "nobody says"
                    problems.append(unlike(host, expected, seen))
        closed = ""
        if said.no_way_out:
            outside, closed = self._outside()
            problems += outside
        resolved = ", all names resolve" if names else ""
        if said.names and self.local:
            resolved = ", names left out: nodes are local processes"
        return judge(problems, f"{len(ends)} ready{resolved}{closed}")

    def _outside(self) -> tuple[list[Finding], str]:
        """See that nobody is where a way out would begin."""
        command = [self.python, "-c", source("look_outside"), *self.hosts, API, HUB]
        ends = self.execute("steady-state", dict.fromkeys(self.hosts, command), _PATIENCE)
        problems = []
        asked: set[str] = set()
        for host, end in ends.items():
            answer = next(iter(end.answers), None)
            if answer is None:
                problems.append(unlike(host, "it to look outside", _told(end)))
            elif answer["answering"]:
                seen = f"somebody answers at {', '.join(answer['answering'])}"
                problems.append(unlike(host, "nobody to be outside", seen))
            else:
                asked.update(answer["asked"])
        return problems, f", nobody answers at {', '.join(sorted(asked)) or 'any gateway'}"

    def _api(self, said: ApiState) -> Judgement:
        path = said.route.removeprefix("GET ")
        command = [self.python, "-c", source("ask_api"), path, str(said.within)]
        patience = said.within + _PATIENCE
        end = self.execute("steady-state", {self.hosts[0]: command}, patience)[self.hosts[0]]
        answer = next(iter(end.answers), None)
        if answer is None:
            return unclear(f"{self.hosts[0]} could not ask: {_told(end)}")
        if "problem" in answer:
            return judge([unlike(said.route, said.wanted, answer["problem"])], "")
        seen = f"{answer['status']} in {time(round(answer['seconds'], 4))}"
        if answer["status"] == said.status and answer["seconds"] <= said.within:
            return judge([], seen)
        return judge([unlike(said.route, said.wanted, seen)], "")

    def _command(self, said: CommandState) -> Judgement:
        hosts = (said.on,) if said.on else self.hosts
        command = ["bash", "-c", said.run]
        ends = self.execute("steady-state", dict.fromkeys(hosts, command), said.within)
        problems: list[Finding] = []
        for host, end in ends.items():
            if end.status != said.status:
                problems.append(unlike(host, said.wanted, _told(end)))
            elif said.prints and not _prints(said.prints, host, end):
                problems.append(unlike(host, f"a line like '{said.prints}'", _told(end)))
        return judge(problems, "; ".join(f"{host}: {_told(end)}" for host, end in ends.items()))


def results(
    scenario: Scenario, before: Sequence[Judgement], after: Sequence[Judgement], why_not: str = ""
) -> tuple[CheckResult, ...]:
    """Tell each item's state before and after in one record.

    Args:
        scenario: Whose items these are.
        before: How each was before the sweep; empty if nobody looked.
        after: The same when it was over; empty if nobody looked again.
        why_not: Why nobody did.

    """
    found = []
    looked = zip(scenario.steady_state, before, strict=False)
    for index, ((item, first), again) in enumerate(zip_longest(looked, after)):
        later = f"not looked at: {why_not or 'the sweep did not start'}"
        seen = f"before: {first.seen or first.detail}\nafter: "
        detail = f"before: {first.detail}\nafter: "
        found.append(
            CheckResult(
                name=f"steady state: {item.said}",
                verdict=worst([first.verdict, *([again.verdict] if again else [])]),
                detail=detail + (again.detail if again else later),
                expected=item.said.wanted,
                seen=seen + ((again.seen or again.detail) if again else later),
                asked_by=f"steady_state[{index}]",
            )
        )
    return tuple(found)


def fault_of(scenario: Scenario, before: Sequence[Judgement]) -> tuple[Verdict, str]:
    """Say how a steady state came out, and why, if it did not hold; else, or unseen, passed."""
    bad = [
        (judgement.verdict, f"{item.said} ({_flat(judgement.seen or judgement.detail)})")
        for item, judgement in zip(scenario.steady_state, before, strict=False)
        if judgement.verdict is not Verdict.PASSED
    ]
    if not bad:
        return Verdict.PASSED, ""
    verdict = worst(verdict for verdict, _ in bad)
    how = "did not hold" if verdict is Verdict.FAILED else "could not be told"
    return verdict, f"steady state {how}: {'; '.join(text for _, text in bad)}"


def _prints(pattern: str, host: str, end: Executed) -> bool:
    """Tell whether a line of a command's output matches.

    Raises:
        UnmatchedError: That can't be told.

    """
    matcher = Matcher()
    try:
        return any(matcher.matches([pattern], end.lines, most=1))
    except UnmatchedError as error:
        error.where = f"line {error.index + 1} of the output on {host}"
        raise
    finally:
        matcher.close()


def _told(end: Executed) -> str:
    """Say how a command ended, and its last words."""
    last = next((line.strip() for line in reversed(end.lines) if line.strip()), "")
    saying = f", saying: {last[:_LONGEST]}" if last else ""
    if end.status is None:
        return f"{end.problem or 'no end of it'}{saying}"
    how = f"killed by signal {-end.status}" if end.status < 0 else f"status {end.status}"
    return f"{how}{saying}"


def _flat(text: str) -> str:
    return "; ".join(text.splitlines())
