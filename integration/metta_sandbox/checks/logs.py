"""What the hosts' logs say, or don't."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from metta_sandbox.checks.evidence import Evidence
from metta_sandbox.checks.judgement import Judgement, many
from metta_sandbox.scenario.expect import Log
from metta_sandbox.verdict import Verdict

_LONGEST_QUOTE = 200
_WORD = re.compile(r"[A-Za-z]{3,}")


@dataclass(frozen=True)
class _Place:
    path: Path
    number: int
    line: str

    def quote(self, evidence: Evidence) -> str:
        text = self.line.strip()
        if len(text) > _LONGEST_QUOTE:
            text = f"{text[:_LONGEST_QUOTE]} …"
        return f"{evidence.where(self.path, self.number)}: {text}"


@dataclass(frozen=True)
class _Search:
    found: _Place | None
    nearest: _Place | None
    lines: int


def check(expected: Log, evidence: Evidence) -> Judgement:
    """Search the logs for a pattern that must, or must not, be in them.

    A host's log is what its container printed, and the files of its ranks, since what a container
    prints of them is bounded.
    """
    hosts = (expected.on,) if expected.on else evidence.scenario.hosts
    logs = [evidence.folder / "logs" / f"{host}.log" for host in hosts]
    pattern = expected.contains or expected.lacks or ""
    # Only what must be there has something nearest to it.
    hints = {word.lower() for word in _WORD.findall(expected.contains or "")}
    files = [file for file in (*logs, *_rank_logs(evidence, hosts)) if file.is_file()]
    result = _search(evidence, pattern, hints, files)
    if result.found is not None:
        seen = result.found.quote(evidence)
        if expected.contains is not None:
            return Judgement(Verdict.PASSED, seen)
        return Judgement(Verdict.FAILED, f"expected no line to match '{pattern}', saw {seen}")
    if gaps := [gap for log in logs if (gap := _gap(evidence, log))]:
        return Judgement(Verdict.INCONCLUSIVE, f"'{pattern}' was not found, but {', '.join(gaps)}")
    searched = f"{many(result.lines, 'line')} of {many(len(files), 'file')}"
    if expected.lacks is not None:
        return Judgement(Verdict.PASSED, f"no match in {searched}")
    detail = f"expected a line to match '{pattern}', saw none in {searched}"
    if result.nearest is not None:
        detail += f"\nnearest: {result.nearest.quote(evidence)}"
    return Judgement(Verdict.FAILED, detail)


def _gap(evidence: Evidence, log: Path) -> str:
    if not log.is_file():
        return f"{evidence.where(log)} is missing"
    return "" if log.stat().st_size else f"{evidence.where(log)} is empty"


def _rank_logs(evidence: Evidence, hosts: tuple[str, ...]) -> Iterator[Path]:
    places = evidence.scenario.workload.trainer.ranks_per_node
    for node, host in enumerate(evidence.scenario.hosts):
        if host in hosts:
            for rank in range(node * places, (node + 1) * places):
                yield from sorted(evidence.folder.glob(f"trials/*/rank-{rank}.log"))


def _search(evidence: Evidence, pattern: str, words: set[str], files: list[Path]) -> _Search:
    """Find the first line that matches; else the first of those that hold most of the words."""
    compiled = re.compile(pattern)
    nearest: _Place | None = None
    most = lines = 0
    for path in files:
        for number, line in evidence.lines(path):
            lines += 1
            if compiled.search(line):
                return _Search(_Place(path, number, line), None, lines)
            if most < len(words):
                lowered = line.lower()
                shared = sum(word in lowered for word in words)
                if shared > most:
                    most, nearest = shared, _Place(path, number, line)
    return _Search(None, nearest, lines)
