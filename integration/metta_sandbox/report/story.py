"""What the page shows of one scenario: read from its artifacts in one pass, bounded in size.

A timeline of a million entries is read in seconds and leaves a few megabytes for the page.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import from_json

from metta_sandbox import beneath
from metta_sandbox.report.bounded import Curve, LogEnds, Marks
from metta_sandbox.report.lanes import HARNESS, Lanes, kind_of
from metta_sandbox.timeline.recording import Event
from metta_sandbox.wandb_file import WandbFileError, read_run

#: Fields of an event that its place in the page says already, or that say nothing to a reader.
_PLACED = frozenset(
    (
        *("event", "node", "node_rank", "rank", "local_rank", "group", "seq", "pid", "mono"),
        *("wall", "received", "process", "overrides", "log"),
    )
)
#: Numbers of a ``train.step`` that are no curves.
_NO_METRIC = frozenset(("step", "trial", *_PLACED))
#: W&B's own names for what ``train.step`` says start like this.
_WANDB_PREFIX = "train/"
#: How the timeline spells what JSON can't.
_NO_NUMBERS = ("nan", "inf", "-inf", "NaN", "Infinity", "-Infinity")
_LONGEST_TEXT = 240
_MOST_METRICS = 40
#: More ranks than this, of all trials together, and only each trial's first has its curves.
_MOST_RANKS = 200
_NUMBERS = frozenset((int, float))


class _Who(NamedTuple):
    """Whose curve it is: a trial's, by a rank or by W&B."""

    trial: int
    run: str
    who: str


@dataclass(frozen=True)
class PageLimits:
    """How much of a scenario goes into the page.

    Attributes:
        marks: The most marks on all lanes together.
        points: The most points of all curves together.
        characters: The most characters of all logs together.

    """

    marks: int = 8_000
    points: int = 100_000
    characters: int = 2_000_000

    def shared_by(self, scenarios: int) -> PageLimits:
        """Give the part of each of several scenarios."""
        count = max(scenarios, 1)
        return PageLimits(
            max(self.marks // count, 500),
            max(self.points // count, 2_000),
            max(self.characters // count, 40_000),
        )


class Story:
    """Takes in a timeline's entries one by one.

    Args:
        limits: How much is kept.

    """

    def __init__(self, limits: PageLimits) -> None:
        self._limits = limits
        self._lanes = Lanes()
        self._marks: dict[tuple[str, str], Marks] = {}
        self._curves: dict[_Who, dict[str, Curve]] = {}
        self._broken: dict[tuple[_Who, str], float] = {}
        self._logs: dict[tuple[str, str], LogEnds] = {}
        self._suggestions: dict[str, Mapping[str, Any]] = {}
        self._runs: dict[int, str] = {}
        self._asked: dict[int, Mapping[str, Any]] = {}
        self._order = 0
        self._unreadable = 0

    def read(self, folder: Path, path: Path) -> None:
        """Take in a ``timeline.jsonl`` beneath a folder, as far as it can be read."""
        with beneath.open_file(folder, path, most=None) as file:
            for raw in file:
                entry = _parsed(raw)
                if isinstance(entry, dict):
                    self.add(entry)
                else:
                    self._unreadable += 1

    def add(self, entry: Mapping[str, Any]) -> None:
        """Take in one entry of a timeline."""
        self._order += 1
        time = _number(entry.get("received")) or 0.0
        if "event" in entry:
            self._add_event(Event(time, entry))
        elif "line" in entry:
            node, text = str(entry.get("node", "")), str(entry["line"])
            source = str(entry.get("source", ""))
            self._mark(self._lanes.of_line(node, source, time), "output", time, lambda: text)
            self._log(node, source, time, text)
        elif "fault" in entry:
            text = f"{entry['fault']} {entry.get('action', '')} {_told(entry.get('detail'))}"
            lane = self._lanes.fault(entry, time)
            self._mark(lane, "fault", time, lambda: text)
            self._log(HARNESS, "fault", time, text)
        elif "step" in entry:
            lane = self._lanes.harness(time)
            text = str(entry["step"])
            self._mark(lane, "harness", time, lambda: text)
            self._log(HARNESS, "step", time, text)

    def add_history(self, folder: Path, file: Path) -> None:
        """Take in what an offline W&B run beneath a folder logged and no event said."""
        try:
            run = read_run(folder, file)
        except (WandbFileError, OSError):  # a check says so
            return
        trial = {name: number for number, name in self._runs.items()}.get(run.id)
        if trial is None:
            return
        told = {key for who, curves in self._curves.items() if who.trial == trial for key in curves}
        logged = _Who(trial, run.id, "W&B")
        for at, row in enumerate(run.history):
            step = _number(row.get("_step", at))
            for key, value in row.items():
                metric = key.removeprefix(_WANDB_PREFIX)
                if not key.startswith("_") and metric not in told and step is not None:
                    self._point(logged, metric, step, value)

    def to_json(self) -> dict[str, Any]:
        """Give what the page's script draws."""
        return {
            **self._lanes.to_json(),
            "marks": self._marks_json(),
            "curves": self._curves_json(),
            "fewer_curves": self._too_many_curves,
            "suggestions": self._suggestions,
            "logs": self._logs_json(),
            "unreadable": self._unreadable,
        }

    def _add_event(self, event: Event) -> None:
        time, trial, run = event.received, event.get("trial"), event.get("run")
        lane = self._lanes.event(event, time)
        self._mark(lane, kind_of(event), time, lambda: _described(event))
        if isinstance(trial, int):
            if run is not None:
                self._runs[trial] = str(run)
            if isinstance(suggestion := event.get("suggestion"), Mapping):
                self._asked[trial] = suggestion
            if trial in self._asked and trial in self._runs:
                self._suggestions[self._runs[trial]] = self._asked.pop(trial)
        if event.name == "train.step":
            self._add_step(event)
        else:
            self._log(str(event.get("node", "")), "event", time, _described(event))

    def _add_step(self, event: Event) -> None:
        trial, step = event.get("trial"), _number(event.get("step"))
        if not isinstance(trial, int) or step is None:
            return
        who = _Who(trial, str(event.get("run", trial)), f"rank {event.get('rank', '?')}")
        for metric, value in event.fields.items():
            if metric not in _NO_METRIC:
                self._point(who, metric, step, value)

    def _point(self, who: _Who, metric: str, step: float, value: Any) -> None:
        number = _number(value)
        if number is not None:
            curves = self._curves.setdefault(who, {})
            if metric not in curves:
                curves[metric] = Curve(limit=300)
            curves[metric].add(step, number)
        elif value in _NO_NUMBERS:
            self._broken.setdefault((who, metric), step)

    def _mark(self, lane: str, kind: str, time: float, text: Callable[[], str]) -> None:
        marks = self._marks.get((lane, kind))
        if marks is None:
            marks = self._marks[lane, kind] = Marks(limit=1_000)
        marks.add(time, text)

    def _log(self, node: str, source: str, time: float, text: str) -> None:
        log = self._logs.get((node, source))
        if log is None:
            log = self._logs[node, source] = LogEnds(self._limits.characters)
        log.add(self._order, time, text)

    def _marks_json(self) -> list[dict[str, Any]]:
        most = self._limits.marks // max(len(self._marks), 1)
        found = []
        for (lane, kind), marks in self._marks.items():
            marks.shrink(most)
            points = [
                [round(mark.first, 4), round(mark.last, 4), mark.count, mark.text[:_LONGEST_TEXT]]
                for mark in marks
            ]
            found.append({"lane": lane, "kind": kind, "points": points})
        return found

    def _shown_curves(self) -> dict[tuple[_Who, str], Curve]:
        """Give the curves by whose they are; of very many, those of each trial's first rank."""
        places = {
            (who, metric): self._curves[who][metric]
            for who in sorted(self._curves)
            for metric in self._curves[who]
        }
        if not self._too_many_curves:
            return places
        first: dict[tuple[int, str], tuple[_Who, str]] = {}
        for who, metric in places:
            first.setdefault((who.trial, metric), (who, metric))
        return {place: places[place] for place in first.values()}

    @property
    def _too_many_curves(self) -> bool:
        return len(self._curves) > _MOST_RANKS

    def _curves_json(self) -> dict[str, list[dict[str, Any]]]:
        places = self._shown_curves()
        most = self._limits.points // (2 * max(len(places), 1))
        found: dict[str, list[dict[str, Any]]] = {}
        for who, metric in sorted({*places, *self._broken}, key=lambda place: place[0]):
            if metric not in found and len(found) == _MOST_METRICS:
                continue
            curve = places.get((who, metric), Curve(limit=2))
            curve.shrink(most)
            found.setdefault(metric, []).append(
                {
                    **who._asdict(),
                    "points": [[x, float(f"{y:.6g}")] for x, y in curve.points()],
                    "broken": self._broken.get((who, metric)),
                }
            )
        return found

    def _logs_json(self) -> dict[str, Any]:
        budget = self._limits.characters // max(len(self._logs), 1)
        lines: list[tuple[int, list[Any]]] = []
        left_out = []
        for (node, source), whole in self._logs.items():
            log = whole.within(budget)
            head, tail = log.lines()
            lines.extend(
                (line.order, [round(line.received, 3), node, source, line.text])
                for line in (*head, *tail)
            )
            if log.cut:
                gap = f"… {log.cut:,} more lines of {source}: see timeline.log"
                at = tail[0] if tail else head[-1]
                lines.append((at.order - 1, [round(at.received, 3), node, "cut", gap]))
                left_out.append({"node": node, "source": source, "lines": log.cut})
        lines.sort(key=lambda pair: pair[0])
        return {"lines": [line for _, line in lines], "left_out": left_out}


def tell(folder: Path, limits: PageLimits) -> dict[str, Any]:
    """Read a scenario's artifacts for the page; what is missing is left out.

    Args:
        folder: ``artifacts/<run>/<scenario>/``.
        limits: How much may go into the page.

    """
    story = Story(limits)
    with suppress(OSError):
        story.read(folder, folder / "timeline.jsonl")
    for file in beneath.find(folder, "wandb/*/run-*.wandb"):
        story.add_history(folder, file)
    return story.to_json()


def _parsed(raw: bytes) -> Any:
    """Read a line; None if it was cut off."""
    try:
        return from_json(raw)  # three times as fast, and refuses halves of surrogate pairs
    except ValueError:
        pass
    try:
        return json.loads(raw)
    except ValueError:
        return None


def _number(value: Any) -> float | None:
    if type(value) in _NUMBERS and math.isfinite(value):  # bool is an int of its own kind
        return float(value)
    return None


def _described(event: Event) -> str:
    return f"{event.name} {_told(event.fields)}".rstrip()


def _told(fields: Any) -> str:
    if not isinstance(fields, Mapping):
        return "" if fields is None else str(fields)
    shown = ((key, value) for key, value in fields.items() if key not in _PLACED)
    return " ".join(f"{key}={_short(value)}" for key, value in shown)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
