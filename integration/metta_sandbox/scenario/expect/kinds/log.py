"""What the hosts' logs say, or don't."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator
from typing_extensions import Self

from metta_sandbox.scenario.base import NamedHosts
from metta_sandbox.scenario.expect.bounds import Bounds, Count
from metta_sandbox.scenario.expect.judgement import Finding, Judgement, judge, unclear
from metta_sandbox.scenario.expect.kind import CheckKind, CheckPair
from metta_sandbox.scenario.hosts import HostName
from metta_sandbox.scenario.units import Pattern
from metta_sandbox.verdict import Verdict
from metta_sandbox.words import many

if TYPE_CHECKING:
    from metta_sandbox.checks.evidence import Evidence

_LONGEST_QUOTE = 200


_MOST_PLACES = 10


#: How an agent marks what it did not forward into the log.
_CUT = re.compile(r"\[\.\.\. \d+ (?:lines of \S+|bytes) not forwarded\]")


_RANK_LOG = re.compile(r"trials/[^/]+/rank-\d+\.log")


_WORD = re.compile(r"[A-Za-z]{3,}")


#: Things that have an order.
_FEWEST = 2


class LogCheck(CheckKind):
    """Patterns that the lines of a host's log must, or must not, match."""

    key = "log"
    about = "What a host's log contains or lacks."
    example = "log: {lacks: 'Traceback', on: sweep-worker}"

    contains: Pattern | None = Field(
        default=None, description="Some line matches this regular expression (Python's re.search)."
    )
    lacks: Pattern | None = Field(
        default=None, description="No line matches this regular expression."
    )
    in_order: Annotated[tuple[Pattern, ...], Field(strict=False)] | None = Field(
        default=None, description="One file has lines that match these, one after another."
    )
    times: Count | None = Field(
        default=None,
        description="How many lines match `contains`, in what the container printed. Default: at "
        "least one.",
    )
    on: HostName | None = Field(
        default=None,
        description="The host whose log is read: `sweep-master`, `sweep-worker`, `sweep-worker-2`, "
        "…, `dummy-api`. Default: those of all nodes.",
    )

    @model_validator(mode="after")
    def _say_one_thing(self) -> Self:
        if sum(said is not None for said in (self.contains, self.lacks, self.in_order)) != 1:
            raise ValueError("expected either contains or lacks or in_order")
        if self.times is not None and self.contains is None:
            raise ValueError("expected times with contains only")
        if self.in_order is not None and len(self.in_order) < _FEWEST:
            raise ValueError("expected at least two patterns in_order")
        return self

    @property
    def hosts(self) -> NamedHosts:
        """The host, if one is named."""
        return () if self.on is None else ((("on",), self.on),)

    @property
    def wanted(self) -> str:
        """Which lines the log must have, or must not."""
        if self.in_order is not None:
            quoted = (f"'{each}'" for each in self.in_order)
            return f"contains in order {', '.join(quoted)}"
        if self.contains is None:
            return f"lacks '{self.lacks}'"
        times = "" if self.times is None else f" {self.times.often}"
        return f"contains '{self.contains}'{times}"

    def __str__(self) -> str:
        return f"log{f' on {self.on}' if self.on else ''} {self.wanted}"


@dataclass(frozen=True)
class _Place:
    path: Path
    number: int
    line: str

    def where(self, evidence: Evidence) -> str:
        return evidence.where(self.path, self.number)

    @property
    def text(self) -> str:
        text = self.line.strip()
        return f"{text[:_LONGEST_QUOTE]} …" if len(text) > _LONGEST_QUOTE else text

    def quote(self, evidence: Evidence) -> str:
        return f"{self.where(evidence)}: {self.text}"


@dataclass(frozen=True)
class _SearchResult:
    found: _Place | None
    lines: int


def check(expected: LogCheck, evidence: Evidence) -> Judgement:
    """Search the logs for patterns that must, or must not, be in them.

    A host's log is what its container printed, and the files of its ranks, since what a container
    prints of them is bounded. Lines are counted in the former alone, which has both.
    """
    hosts = (expected.on,) if expected.on else evidence.scenario.hosts
    logs = [evidence.folder / "logs" / f"{host}.log" for host in hosts]
    if expected.times is not None:
        return _count(expected, expected.times, evidence, logs)
    files = [*(log for log in logs if evidence.size(log) is not None), *_rank_logs(evidence, hosts)]
    if expected.in_order is not None:
        return _in_order(expected.in_order, evidence, logs, files)
    return _once(expected, evidence, logs, files)


def _once(expected: LogCheck, evidence: Evidence, logs: list[Path], files: list[Path]) -> Judgement:
    """Look for one line that matches."""
    pattern = expected.contains or expected.lacks or ""
    result = _search(evidence, pattern, files)
    if result.found is not None:
        seen, place = result.found.quote(evidence), result.found.where(evidence)
        if expected.contains is not None:
            return Judgement(Verdict.PASSED, seen, result.found.text, (place,))
        detail = f"expected no line to match '{pattern}', saw {seen}"
        return Judgement(Verdict.FAILED, detail, result.found.text, (place,))
    if unsure := _unsure(evidence, f"'{pattern}' was", logs):
        return unsure
    searched = f"{many(result.lines, 'line')} of {many(len(files), 'file')}"
    places = tuple(evidence.where(file) for file in files)
    if expected.lacks is not None:
        return Judgement(Verdict.PASSED, f"no match in {searched}", where=places)
    detail = f"expected a line to match '{pattern}', saw none in {searched}"
    if nearest := _nearest(evidence, pattern, files):
        detail += f"\nnearest: {nearest.quote(evidence)}"
        places = (nearest.where(evidence),)
    return Judgement(Verdict.FAILED, detail, f"no match in {searched}", places)


def _unsure(evidence: Evidence, what: str, logs: list[Path]) -> Judgement | None:
    """Say that what was not found means nothing while a log is not there."""
    gaps = _gaps(evidence, logs)
    if not gaps:
        return None
    return unclear(f"{what} not found, but {', '.join(gaps)}", evidence.where(logs[0].parent))


def _count(expected: LogCheck, times: Bounds, evidence: Evidence, logs: list[Path]) -> Judgement:
    files = [log for log in logs if evidence.size(log) is not None]
    found: list[str] = []
    count = 0
    for path in files:
        for batch in evidence.matches([expected.contains or ""], path):
            count += len(batch.matches)
            for match in batch.matches:
                found = [*found[: _MOST_PLACES - 1], evidence.where(path, match.index + 1)]
    seen = many(count, "line")
    gaps = _gaps(evidence, logs)
    enough = times.equals is None and times.at_most is None and times.hold(count)
    if not enough and (cut := _cut(evidence, files)):
        return unclear(f"{seen} found, but the log was cut ({cut})", cut)
    if not enough and gaps:
        return unclear(f"{seen} found, but {', '.join(gaps)}")
    if times.hold(count):
        places = found or [evidence.where(file) for file in files]
        return judge([], seen, places)
    text = f"expected {times.of('line')} to match '{expected.contains}', saw {seen}"
    return judge([Finding(text, (found or [evidence.where(logs[0])])[-1], seen)], "")


def _in_order(
    patterns: tuple[str, ...], evidence: Evidence, logs: list[Path], files: list[Path]
) -> Judgement:
    """Look for one file that has lines which match one after another."""
    longest: list[_Place] = []
    for path in files:
        places: list[_Place] = []
        for batch in evidence.matches(patterns, path, len(patterns)):
            places += [_Place(path, one.index + 1, one.line) for one in batch.matches]
        if len(places) == len(patterns):
            seen = "; ".join(place.quote(evidence) for place in places)
            return judge([], seen, (place.where(evidence) for place in places))
        longest = max(longest, places, key=len)
    missing = patterns[len(longest)]
    if unsure := _unsure(evidence, f"'{missing}' was", logs):
        return unsure
    after = f" after {longest[-1].quote(evidence)}" if longest else ""
    text = f"expected a line to match '{missing}'{after}, saw none in {many(len(files), 'file')}"
    places_seen = [place.where(evidence) for place in longest[-1:]] or [evidence.where(logs[0])]
    return judge([Finding(text, places_seen[0], f"no '{missing}'{after}")], "")


def _gaps(evidence: Evidence, logs: list[Path]) -> list[str]:
    """Say which logs are not there to be read."""
    left_out = [
        f"{file} was left out of the artifacts ({why})"
        for file, why in evidence.left_out.items()
        if _RANK_LOG.fullmatch(file)
    ]
    return [*filter(None, (_gap(evidence, log) for log in logs)), *left_out]


def _gap(evidence: Evidence, log: Path) -> str:
    size = evidence.size(log)
    if size is None:
        return f"{evidence.where(log)} is missing"
    return "" if size else f"{evidence.where(log)} is empty"


def _rank_logs(evidence: Evidence, hosts: tuple[str, ...]) -> Iterator[Path]:
    places = evidence.scenario.workload.trainer.ranks_per_node
    for node, host in enumerate(evidence.scenario.hosts):
        if host in hosts:
            for rank in range(node * places, (node + 1) * places):
                yield from evidence.find(f"trials/*/rank-{rank}.log")


def _search(evidence: Evidence, pattern: str, files: list[Path]) -> _SearchResult:
    """Find the first line that matches."""
    lines = 0
    for path in files:
        for batch in evidence.matches([pattern], path, 1):
            lines += batch.count
            for match in batch.matches:
                return _SearchResult(_Place(path, match.index + 1, match.line), lines)
    return _SearchResult(None, lines)


def _nearest(evidence: Evidence, pattern: str, files: list[Path]) -> _Place | None:
    """Find the first of the lines that hold most of a pattern's words."""
    words = {word.lower() for word in _WORD.findall(pattern)}
    nearest, most = None, 0
    for path in files:
        number = 0
        for block in evidence.blocks(path):
            begin, number = number, number + len(block)
            if _shared(words, "\n".join(block)) <= most:
                continue
            for place, line in enumerate(block, begin + 1):
                if (shared := _shared(words, line)) > most:
                    most, nearest = shared, _Place(path, place, line)
    return nearest


def _shared(words: set[str], text: str) -> int:
    lowered = text.lower()
    return sum(word in lowered for word in words)


def _cut(evidence: Evidence, files: list[Path]) -> str:
    """Name the place of the last line that says that the log was cut."""
    cut = ""
    for path in files:
        for number, line in evidence.lines(path):
            if _CUT.search(line):
                cut = evidence.where(path, number)
    return cut


CHECK = CheckPair(LogCheck, check)
