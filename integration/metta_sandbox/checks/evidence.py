"""What a played scenario left, read only when a check asks for it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from metta_sandbox import beneath
from metta_sandbox.matching import Batch, Matcher, UnmatchedError
from metta_sandbox.matching_process import blocks
from metta_sandbox.node.agent.events import Name
from metta_sandbox.scenario.abilities import Ability
from metta_sandbox.scenario.expect.judgement import EvidenceError
from metta_sandbox.scenario.expect.kinds.checkpoint import LOAD_PROOF
from metta_sandbox.scenario.loading import load
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.timeline.recording import Event
from metta_sandbox.wandb_file import OfflineRun, WandbFileError, read_run, written_by_ranks

_TRIAL_GROUP = re.compile(r"trial-(\d+)")
_RANK_FILE = re.compile(r"rank-(\d+)\.digest")


class TrialRecord(BaseModel):
    """``trials/<run>/trial.json``, as rank 0's rollout writes it once a trial is over."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    run: str
    trial: int
    status: Literal["completed", "failed", "pending"]
    score: float | None = None
    cost: float | None = None
    seconds: float | None = None
    #: Whether it failed, and was tried again.
    retried: bool = False
    #: Whether the strategy ended it early; its score is the last one it had.
    pruned: bool = False
    suggestion: dict[str, Any] = {}
    overrides: dict[str, Any] = {}
    reason: str = ""


class ApiCall(BaseModel):
    """One line of ``api/requests.jsonl``."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    line: int
    method: str
    route: str | None
    path: str
    status: int | None
    request: Any = None
    response: Any = None
    scripted: bool = False
    dropped: bool = False
    rule: int | None = None

    @property
    def place(self) -> str:
        """The line of the artifact that records the call."""
        return f"api/requests.jsonl:{self.line}"

    def __str__(self) -> str:
        return f"{self.method} {self.path} -> {self.status} ({self.place})"


@dataclass(frozen=True)
class PlacedEvent:
    """An event at its place in the timeline."""

    event: Event
    line: int

    @property
    def place(self) -> str:
        """The event's line in the timeline."""
        return f"timeline.jsonl:{self.line}"

    @property
    def trial_of_group(self) -> int | None:
        """The trial of the process group that the event names, if it is a trial's."""
        match = _TRIAL_GROUP.fullmatch(str(self.event.get("group")))
        return int(match[1]) if match else None


class LoadProof(BaseModel):
    """What a node said when it was asked to load checkpoints (``checkpoints.json``)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    problem: str = ""
    #: By path in the scenario's folder: what torch says against it, or nothing.
    files: dict[str, str] = {}


@dataclass(frozen=True)
class Evidence:
    """The artifacts of one scenario and the events of its timeline.

    Everything but ``events`` is read from disk when first asked for. A file that is missing where
    there must be one, or broken, raises ``EvidenceError`` with its place.

    Attributes:
        folder: ``artifacts/<run>/<scenario>/``.
        scenario: As it was played.
        events: In order of receipt, or in the timeline's.
        seconds: How long ``scenario``, ``up`` and ``sweep`` took, each if it came to its end.
        engine: What it was played on.
        has: What that can do.
        ending: How the sweep ended, as ``expect`` spells it.
        matcher: Matches the scenario's patterns.
        left_out: What nodes wrote that is not in the folder, by its path there, and why.

    """

    folder: Path
    scenario: Scenario
    events: Sequence[Event]
    seconds: Mapping[str, float] = field(default_factory=dict)
    engine: str = "compose"
    has: frozenset[Ability] = frozenset(Ability)
    ending: str = "finished"
    matcher: Matcher = field(default_factory=Matcher, compare=False)
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def watchable(self) -> bool:
        """Whether watchers could be beside the nodes."""
        return Ability.SIDE_CONTAINERS in self.has

    def of_scenario(self, name: str) -> Evidence:
        """Give what another scenario of the same run left.

        Raises:
            InputError: It was not played before this one.

        """
        folder = self.folder.parent / name
        return Evidence(folder, load(folder / "scenario.yaml"), ())

    @cached_property
    def trials(self) -> tuple[TrialRecord, ...]:
        """The trials that are over, by number."""
        files = self.find("trials/*/trial.json")
        return tuple(sorted((self._trial(file) for file in files), key=lambda one: one.trial))

    @cached_property
    def completed(self) -> tuple[TrialRecord, ...]:
        """The trials that trained and scored, by number."""
        return tuple(trial for trial in self.trials if trial.status == "completed")

    @cached_property
    def named(self) -> tuple[str, ...]:
        """The run names that trials got, in the order of the events that say so."""
        return tuple(str(event.get("run")) for event in self.of("run.named"))

    @cached_property
    def begun(self) -> frozenset[int]:
        """The numbers of all trials that began, however they ended."""
        starts = (*self.of("suggestion.made"), *self.of("run.named"))
        said = (event.get("trial") for event in starts)
        told = {number for number in said if isinstance(number, int)}
        return frozenset(told | {trial.trial for trial in self.trials})

    @cached_property
    def wandb_runs(self) -> tuple[OfflineRun, ...]:
        """The offline W&B runs."""
        return tuple(self._wandb(file) for file in self.find("wandb/*/run-*.wandb"))

    def runs_anywhere(self) -> Iterator[OfflineRun]:
        """Read the W&B runs one by one that were written anywhere, offline or not."""
        yield from map(self._wandb, self.find("**/wandb/*/run-*.wandb"))

    def trainers_runs(self, run: str) -> tuple[tuple[int | None, OfflineRun], ...]:
        """Read the W&B runs that a trial's trainers tracked themselves, each with its rank."""
        files = written_by_ranks(self.folder, self.folder / "trials" / run)
        return tuple((rank, self._wandb(file)) for file, rank in files.items())

    @cached_property
    def api_calls(self) -> tuple[ApiCall, ...]:
        """The calls of the control plane, in order."""
        path = self.folder / "api" / "requests.jsonl"
        calls = []
        for number, line in self.lines(path):
            try:
                calls.append(ApiCall.model_validate({**json.loads(line), "line": number}))
            except (ValueError, TypeError) as error:
                raise EvidenceError(
                    self.where(path, number), f"not a recorded request: {_why(error)}"
                ) from error
        return tuple(calls)

    @cached_property
    def moments(self) -> tuple[PlacedEvent, ...]:
        """The timeline's events in its order, with their lines."""
        path = self.folder / "timeline.jsonl"
        found = []
        for number, line in self.lines(path):
            if not line.startswith('{"event":'):
                continue
            try:
                fields = json.loads(line)
                found.append(PlacedEvent(Event(float(fields.pop("received")), fields), number))
            except (ValueError, TypeError, KeyError) as error:
                raise EvidenceError(self.where(path, number), f"not an event: {error}") from error
        return tuple(found)

    @cached_property
    def load_proof(self) -> LoadProof:
        """What the first node said of the checkpoints it was asked to load."""
        path = self.folder / LOAD_PROOF
        try:
            return LoadProof.model_validate(self._json(path))
        except ValidationError as error:
            raise EvidenceError(self.where(path), f"not an answer: {_why(error)}") from error

    def place_of(self, event: Event) -> str:
        """Name the place of an event in the timeline; the timeline, if it can't be told."""
        try:
            return self._places.get(_identity(event), "timeline.jsonl")
        except EvidenceError:
            return "timeline.jsonl"

    @cached_property
    def _places(self) -> Mapping[tuple[object, ...], str]:
        return {_identity(moment.event): moment.place for moment in self.moments}

    def line_of(self, path: Path, text: str) -> str:
        """Name the place of the first line of a file that holds a text; else the file."""
        numbers = (number for number, line in self.lines(path) if text in line)
        return self.where(path, next(numbers, None))

    def of(self, name: Name, run: str | None = None) -> tuple[Event, ...]:
        """Give the events of one name, of one run if that is given."""
        return tuple(
            event for event in self._by_name.get(name, ()) if run is None or event.get("run") == run
        )

    def digests(self, run: str) -> dict[int, str]:
        """Read what each rank of a run wrote as the digest of its parameters."""
        found = {}
        for path in self.find("rank-*.digest", run):
            if match := _RANK_FILE.fullmatch(path.name):
                found[int(match[1])] = self.read(path).decode(errors="replace").strip()
        return found

    def find(self, pattern: str, run: str = "") -> list[Path]:
        """Find files by a pattern of their paths, from the folder, or from that of a run."""
        return beneath.find(self.folder, pattern, self.folder / "trials" / run if run else None)

    def size(self, path: Path) -> int | None:
        """Give a file's bytes; None if there is no plain file."""
        return beneath.size_of(self.folder, path)

    def opened(self, path: Path) -> BinaryIO:
        """Open a file of any size for reading.

        Raises:
            OSError: It is not there, or no plain file.

        """
        return beneath.open_file(self.folder, path, most=None)

    def overrides(self, run: str) -> Mapping[str, Any]:
        """Read the overrides file of a run."""
        path = self.folder / "trials" / run / "overrides.json"
        overrides = self._json(path)
        if not isinstance(overrides, dict):
            raise EvidenceError(self.where(path), "not a mapping of overrides")
        return overrides

    def lines(self, path: Path) -> Iterator[tuple[int, str]]:
        """Read a file's lines one by one, with their numbers from 1."""
        number = 0
        for block in self.blocks(path):
            for line in block:
                number += 1
                yield number, line

    def blocks(self, path: Path) -> Iterator[list[str]]:
        """Read a file's lines, a batch at a time."""
        try:
            with self.opened(path) as file:
                yield from blocks(file)
        except OSError as error:
            raise EvidenceError(self.where(path), f"{error.strerror}") from error

    def matches(
        self, patterns: Sequence[str], path: Path, most: int = sys.maxsize
    ) -> Iterator[Batch]:
        """Find the lines that match the first pattern, after its first match the next, and so on.

        Args:
            patterns: Regular expressions; the last one stays.
            path: A file.
            most: How many matches are looked for.

        Raises:
            UnmatchedError: It can't be told; says where.

        """
        try:
            with self.opened(path) as file:
                yield from self.matcher.batches(patterns, file, most=most)
        except UnmatchedError as error:
            error.where = self.where(path, error.index + 1)
            raise
        except OSError as error:
            raise EvidenceError(self.where(path), f"{error.strerror}") from error

    def where(self, path: Path, line: int | None = None) -> str:
        """Name a place in the artifacts."""
        return f"{path.relative_to(self.folder)}{'' if line is None else f':{line}'}"

    @cached_property
    def _by_name(self) -> Mapping[str, Sequence[Event]]:
        found: dict[str, list[Event]] = {}
        for event in self.events:
            found.setdefault(event.name, []).append(event)
        return found

    def _trial(self, path: Path) -> TrialRecord:
        try:
            trial = TrialRecord.model_validate(self._json(path))
        except ValidationError as error:
            raise EvidenceError(self.where(path), f"not a trial: {_why(error)}") from error
        if trial.run != path.parent.name:
            raise EvidenceError(self.where(path), f"says it is of run {trial.run!r}")
        return trial

    def _wandb(self, path: Path) -> OfflineRun:
        try:
            return read_run(self.folder, path)
        except (WandbFileError, OSError) as error:
            raise EvidenceError(self.where(path), f"{error}") from error

    def read(self, path: Path) -> bytes:
        """Read a file; it must be there, and no larger than what the sandbox writes."""
        try:
            return beneath.read_bytes(self.folder, path)
        except OSError as error:
            raise EvidenceError(self.where(path), f"{error.strerror}") from error

    def _json(self, path: Path) -> Any:
        try:
            return json.loads(self.read(path))
        except json.JSONDecodeError as error:
            raise EvidenceError(self.where(path, error.lineno), f"not JSON: {error.msg}") from error
        except ValueError as error:
            raise EvidenceError(self.where(path), f"not JSON: {error}") from error


def _identity(event: Event) -> tuple[object, ...]:
    # Two of one name at one moment from one process differ by their number.
    return (event.name, event.received, str(event.get("node")), event.get("pid"), event.get("seq"))


def _why(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)
