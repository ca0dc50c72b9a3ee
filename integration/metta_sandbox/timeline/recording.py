"""The timeline of a scenario: what happened, what was printed, what the harness did, in one order.

Entries are appended to ``timeline.jsonl`` as they come, so that a harness that dies leaves what it
knew. ``finish`` puts them into order and writes ``timeline.log``, the same for reading.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, cast

from metta_sandbox.errors import MachineError
from metta_sandbox.node.agent.events import Field, KnownEvent, Name, Record
from metta_sandbox.safe_text import for_runner
from metta_sandbox.timeline.order import Merge, needs_of

_IDENTITY = frozenset(
    ("event", "node", "node_rank", "rank", "local_rank", "group", "seq", "pid", "mono", "wall")
)
_LONGEST_TEXT = 400


@dataclass(frozen=True)
class Event:
    """An event a node's process emitted; ``received`` is in seconds since the run began."""

    received: float
    fields: Mapping[str, Any]

    @property
    def name(self) -> Name:
        """Which event it is: one of the catalogue's, or a trainer's own that nobody here knows."""
        return cast("Name", str(self.fields.get("event", "")))

    def get(self, key: Field, default: Any = None) -> Any:
        """Give one of its fields that the catalogue knows."""
        return self.fields.get(key, default)

    def to_json(self) -> dict[str, Any]:
        """Give the entry as ``timeline.jsonl`` has it."""
        return {"event": self.name, **self.fields, "received": self.received}


@dataclass(frozen=True)
class Line:
    """A line that something on a node printed: ``source`` is ``sweep``, ``rank-0``, …."""

    received: float
    node: str
    source: str
    text: str

    def to_json(self) -> dict[str, Any]:
        """Give the entry as ``timeline.jsonl`` has it."""
        return {
            "line": self.text,
            "node": self.node,
            "source": self.source,
            "received": self.received,
        }


@dataclass(frozen=True)
class Step:
    """A step of the harness, such as bringing the stack up."""

    received: float
    text: str

    def to_json(self) -> dict[str, Any]:
        """Give the entry as ``timeline.jsonl`` has it."""
        return {"step": self.text, "received": self.received}


@dataclass(frozen=True)
class FaultAction:
    """What the harness did, or saw, about a fault: ``struck``, ``seen``, ``healed``, …."""

    received: float
    name: str
    action: str
    detail: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Give the entry as ``timeline.jsonl`` has it."""
        return {
            "fault": self.name,
            "action": self.action,
            "detail": dict(self.detail),
            "received": self.received,
        }


Entry = Event | Line | Step | FaultAction


class Timeline:
    """Records a scenario. Safe to use from several threads.

    Events stay in memory for whoever judges them; lines are on disk alone. A disk that takes no
    more does not stop the recording of events: ``require_whole`` and ``finish`` say so.

    Args:
        path: The ``timeline.jsonl`` to write, in a folder that exists.
        clock: Seconds on a clock that never goes back.
        began: When the run began, on that clock. Default: now.

    """

    def __init__(
        self, path: Path, *, clock: Callable[[], float] = time.monotonic, began: float | None = None
    ) -> None:
        self.path = path
        self._clock = clock
        self._began = clock() if began is None else began
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._places: list[int] = []
        self._count = 0
        self._problem: OSError | None = None
        self._file: TextIO | None = path.open("w", encoding="utf-8", errors="backslashreplace")

    @property
    def events(self) -> tuple[Event, ...]:
        """The events so far, in order of receipt."""
        with self._lock:
            return tuple(self._events)

    def tell(self, event: KnownEvent) -> Event:
        """Record an event of the harness's own."""
        return self.event(event.record())

    def event(self, record: Record) -> Event:
        """Record an event as its emitter sent it."""
        with self._lock:
            entry = Event(self._now(), record)
            self._events.append(entry)
            self._places.append(self._count)
            self._append(entry)
        return entry

    def line(self, node: str, source: str, text: str) -> Line:
        """Record a line that something on a node printed, without its newline."""
        with self._lock:
            line = Line(self._now(), node, source, text)
            self._append(line)
        return line

    def step(self, text: str) -> None:
        """Record a step of the harness."""
        with self._lock:
            self._append(Step(self._now(), text))

    def fault(self, name: str, action: str, **detail: Any) -> None:
        """Record what was done about a fault."""
        with self._lock:
            self._append(FaultAction(self._now(), name, action, detail))

    def require_whole(self) -> None:
        """Make sure that everything so far was written: of a gap nothing can be judged.

        Raises:
            MachineError: Something could not be.

        """
        if self._problem is not None:
            raise MachineError(
                f"{self.path} is incomplete: {self._problem.strerror or self._problem}",
                "make room there, or choose another folder with --artifacts",
            ) from self._problem

    def finish(self) -> None:
        """Close the record, put it into order and write ``timeline.log``. Once is enough.

        Raises:
            MachineError: Something could not be written, now or before.

        """
        with self._lock:
            if self._file is None:
                return
            file, self._file = self._file, None
            try:
                file.close()
                if self._problem is None:
                    self._rewrite()
            except OSError as error:
                self._problem = error
        self.require_whole()

    def _now(self) -> float:
        return round(self._clock() - self._began, 6)

    def _append(self, entry: Entry) -> None:
        self._count += 1
        if self._file is None or self._problem is not None:
            return
        try:
            self._file.write(_dump(entry.to_json()) + "\n")
            self._file.flush()
        except OSError as error:
            self._problem = error

    def _rewrite(self) -> None:
        ordered = self.path.with_suffix(".jsonl.part")
        readable = self.path.with_suffix(".log")
        needs = needs_of([event.fields for event in self._events])
        with (
            self.path.open(encoding="utf-8", newline="\n") as source,
            ordered.open("w", encoding="utf-8") as target,
            readable.open("w", encoding="utf-8", errors="backslashreplace") as log,
        ):
            for raw in Merge[str](needs).run(self._numbered(source)):
                target.write(raw)
                log.write(render(json.loads(raw)) + "\n")
        ordered.replace(self.path)

    def _numbered(self, source: TextIO) -> Iterator[tuple[int | None, str]]:
        numbers = iter(enumerate(self._places))
        index, place = next(numbers, (None, -1))
        for count, raw in enumerate(source):
            if count == place:
                yield index, raw
                index, place = next(numbers, (None, -1))
            else:
                yield None, raw


def render(entry: Mapping[str, Any]) -> str:
    """Write one entry of ``timeline.jsonl`` for reading: seconds, node, who on it, text."""
    if "event" in entry:
        rank = entry.get("rank", entry.get("node_rank"))
        node, who = entry.get("node", "-"), "-" if rank is None else rank
        own = " ".join(
            f"{key}={_short(value)}"
            for key, value in entry.items()
            if key not in _IDENTITY and key != "received"
        )
        text = f"* {entry['event']:<20} {own}".rstrip()
    elif "line" in entry:
        node, who, text = entry["node"], entry["source"], f"  {entry['line']}"
    elif "fault" in entry:
        node, who = "harness", "fault"
        text = f"! {entry['fault']} {entry['action']} {_short(entry['detail'])}"
    else:
        node, who, text = "harness", "-", f"> {entry['step']}"
    line = f"+{entry['received']:>10.3f}s  {node!s:<15} {who!s:<7} {_cut(text)}"
    return for_runner(line.replace("\n", "\\n"))


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]} … ({len(text)} letters)"


def _dump(record: Mapping[str, Any]) -> str:
    try:
        return json.dumps(record, ensure_ascii=False, allow_nan=False, default=str)
    except ValueError:
        return json.dumps(_finite(record), ensure_ascii=False, default=str)


def _finite(value: Any) -> Any:
    """Spell numbers that JSON has no way to write: NaN, Infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return value
