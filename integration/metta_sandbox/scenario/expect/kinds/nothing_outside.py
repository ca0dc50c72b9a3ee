"""That no node asked for anything outside the stack, as watchers beside them saw it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from metta_sandbox.scenario.base import Part
from metta_sandbox.scenario.expect.judgement import (
    EvidenceError,
    Finding,
    Judgement,
    judge,
    unclear,
)
from metta_sandbox.scenario.expect.kind import CheckKind, CheckPair
from metta_sandbox.verdict import Verdict
from metta_sandbox.words import many

if TYPE_CHECKING:
    from metta_sandbox.checks.evidence import Evidence

#: A host's name or an address, where * stands for any part of it.
_OUTSIDER = re.compile(r"[A-Za-z0-9*_.:-]+")


#: Where a scenario's folder keeps what was seen of nodes that asked for something outside.
OUTSIDE = "outside"


class NothingOutsideCheck(CheckKind):
    """That no node looks up a name, or tries to reach an address, outside the stack."""

    key = "nothing_outside"
    about = "No node asks for a name or an address outside the stack."
    example = "nothing_outside: true"

    watched = True

    allow: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        default=(),
        description="Names and addresses that may be asked for; `*` is any part of one. "
        "`nothing_outside: true` allows nothing.",
    )

    @classmethod
    def spelt(cls) -> Any:
        """``nothing_outside: true`` is short for one that allows nothing."""
        return Annotated[cls, BeforeValidator(_plainly, json_schema_input_type=Literal[True] | cls)]

    @field_validator("allow")
    @classmethod
    def _are_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            if not _OUTSIDER.fullmatch(each):
                raise ValueError(f"expected a name or an address, where * is any part: {each!r}")
        return tuple(each.lower() for each in value)

    def allows(self, outsider: str) -> bool:
        """Tell whether a name or an address may be asked for."""
        return any(fnmatchcase(outsider, each) for each in self.allow)

    @property
    def wanted(self) -> str:
        """What nodes must not ask for."""
        but = f" but {', '.join(self.allow)}" if self.allow else ""
        return f"no lookup of a name and no attempt at an address outside the stack{but}"

    def __str__(self) -> str:
        but = f" but {', '.join(self.allow)}" if self.allow else ""
        return f"nothing outside is asked for{but}"


def _plainly(value: Any) -> Any:
    if value is True:
        return {}
    if isinstance(value, (Mapping, Part)):
        return value
    raise ValueError("expected true, or allow and names that may be asked for")


class _Record(BaseModel):
    """A line of ``outside/<host>.jsonl``."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["watching", "lookup", "attempt", "no route", "reached", "blind", "end"]
    mono: float
    reason: str = ""
    name: str = ""
    address: str = ""
    protocol: str = ""
    port: int | None = None
    count: int = 1
    lost: int = 0
    proof: Mapping[str, str] = {}
    counts: Mapping[str, int] = {}

    @property
    def outsider(self) -> str:
        """The name or the address that was asked for; empty if the kernel doesn't tell."""
        return self.name or self.address

    @property
    def thing(self) -> str:
        """The name under which what was asked for is counted."""
        if self.kind == "attempt":
            port = "" if self.port is None else f":{self.port}"
            return f"{self.address}{port}/{self.protocol}"
        return self.outsider or self.kind


@dataclass(frozen=True)
class _NodeWatch:
    """What the watcher of one node wrote."""

    host: str
    path: str
    records: tuple[tuple[str, _Record], ...]

    def one(self, kind: str) -> _Record | None:
        return next((record for _, record in self.records if record.kind == kind), None)

    def findings(self, expected: NothingOutsideCheck) -> Iterator[Finding]:
        """Tell of each thing outside that was asked for, once, and how often it was."""
        first: dict[str, tuple[str, _Record]] = {}
        times: dict[str, int] = {}
        for place, record in self.records:
            if record.kind not in {"lookup", "attempt", "no route", "reached"}:
                continue
            if record.outsider and expected.allows(record.outsider):
                continue
            first.setdefault(record.thing, (place, record))
            times[record.thing] = times.get(record.thing, 0) + record.count
        end = self.one("end")
        for thing, (place, record) in first.items():
            # Not everything has a line of its own, but all is counted.
            count = (end.counts if end else {}).get(thing, times[thing])
            yield Finding(f"{self.host} {_told(record, thing)} {many(count, 'time')}", place)

    def gap(self, evidence: Evidence) -> str:
        """Say why the watcher may have missed something; empty if it can't have."""
        began, end, blind = (self.one(kind) for kind in ("watching", "end", "blind"))
        if blind is not None:
            return f"it does not see: {blind.reason}"
        if began is None or end is None:
            return "it never watched" if began is None else "it died before the end"
        proofs = {"lookup", "attempt", "gateway"}
        if not all(proofs <= record.proof.keys() for record in (began, end)):
            return "it did not prove that it sees"
        return f"it lost {many(end.lost, 'packet')}" if end.lost else self._short(evidence)

    def _short(self, evidence: Evidence) -> str:
        """Say that the watcher began too late or ended too early; empty if it didn't."""
        began, end = self.one("watching"), self.one("end")
        assert began is not None
        assert end is not None
        # Node and watcher are on one machine and have one such clock.
        told = (event.get("mono") for event in evidence.events if event.get("node") == self.host)
        heard = [mono for mono in told if isinstance(mono, float)]
        if heard and not began.mono <= min(heard) <= max(heard) <= end.mono:
            return "it did not watch from before the node's first event to after its last"
        return ""


def check(expected: NothingOutsideCheck, evidence: Evidence) -> Judgement:
    """Check that each node's watcher saw the whole scenario, and nothing that is not allowed."""
    if not evidence.watchable:
        reason = f"the engine {evidence.engine} has no side containers, so nobody watched"
        return Judgement(Verdict.SKIPPED, reason)
    problems: list[Finding] = []
    gaps: list[Finding] = []
    watched: list[str] = []
    for host in evidence.scenario.hosts:
        try:
            watch = _read(evidence, host)
        except EvidenceError as error:
            gaps.append(Finding(str(error), error.where))
            continue
        watched.append(watch.path)
        problems += watch.findings(expected)
        if gap := watch.gap(evidence):
            gaps.append(Finding(f"the watcher of {host}: {gap}", watch.path))
    if problems or not gaps:
        # What was seen was seen, also by a watcher that may have missed more.
        seen = f"{many(len(watched), 'node')} watched throughout: nothing"
        return judge([*problems, *gaps], seen, watched)
    return unclear("\n".join(map(str, gaps)), gaps[0].where)


def _told(record: _Record, thing: str) -> str:
    if record.kind == "lookup":
        return f"looked up {thing}"
    if record.kind == "attempt":
        return f"tried to reach {thing}"
    if record.kind == "reached":
        return f"saw somebody outside the stack at {thing}"
    return "tried to reach an address without a route (the kernel does not tell which)"


def _read(evidence: Evidence, host: str) -> _NodeWatch:
    path: Path = evidence.folder / OUTSIDE / f"{host}.jsonl"
    records = []
    for number, line in evidence.lines(path):
        place = evidence.where(path, number)
        try:
            records.append((place, _Record.model_validate(json.loads(line))))
        except (ValidationError, ValueError):
            told = line.strip()[:200]
            raise EvidenceError(place, f"not what a watcher writes: {told}") from None
    return _NodeWatch(host, evidence.where(path), tuple(records))


CHECK = CheckPair(NothingOutsideCheck, check)
