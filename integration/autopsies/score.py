"""Holds what was said of a fault against what is known of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.table import Table

from autopsies.corpus import Known
from metta_sandbox.report.results import ScenarioResult


@dataclass(frozen=True)
class Scored:
    """What came of one fault.

    Args:
        known: The fault.
        proven: Whether it was shown to have happened.
        kind: The kind that was named first; empty if no cause was.
        rank: The rank that was.
        sentence: What was said.
        seconds: From the fault until the sentence; None if either never came.

    """

    known: Known
    proven: bool
    kind: str = ""
    rank: int | None = None
    sentence: str = ""
    seconds: float | None = None

    @property
    def cause_right(self) -> bool:
        """Whether the cause is the one that is known."""
        return self.kind in self.known.kinds if self.known.kinds else not self.kind

    @property
    def rank_right(self) -> bool:
        """Whether the rank is."""
        return not self.known.kinds or self.rank == self.known.rank


def score(known: Known, result: ScenarioResult, folder: Path) -> Scored:
    """Read what became of one fault from its scenario's artifacts."""
    cause = next(iter(result.causes), None)
    struck, told = _moments(folder / "timeline.jsonl")
    seconds = None if struck is None or told is None else told - struck
    return Scored(
        known,
        proven=any(fault.proven for fault in result.faults),
        kind=cause.kind if cause else "",
        rank=cause.rank if cause else None,
        sentence=cause.sentence if cause else result.reason,
        seconds=seconds,
    )


def _moments(timeline: Path) -> tuple[float | None, float | None]:
    struck = told = None
    for entry in _entries(timeline):
        if struck is None and "fault" in entry and entry.get("action") == "struck":
            struck = float(entry["received"])
        if told is None and str(entry.get("step", "")).startswith("cause: "):
            told = float(entry["received"])
    return struck, told


def _entries(timeline: Path) -> Iterator[dict[str, object]]:
    if timeline.exists():
        with timeline.open() as file:
            yield from map(json.loads, file)


def table(scores: Sequence[Scored]) -> Table:
    """Draw a line for each fault, and a line for all."""
    drawn = Table("fault", "proven", "cause", "rank", "seconds", "what was said", title="Autopsies")
    for one in scores:
        drawn.add_row(
            one.known.name,
            _mark(one.proven),
            f"{_mark(one.cause_right)} {one.kind}",
            f"{_mark(one.rank_right)} {'' if one.rank is None else one.rank}",
            "" if one.seconds is None else f"{one.seconds:.1f}",
            one.sentence,
        )
    took = [one.seconds for one in scores if one.seconds is not None]
    drawn.add_section()
    drawn.add_row(
        f"all {len(scores)}",
        str(sum(one.proven for one in scores)),
        str(sum(one.cause_right for one in scores)),
        str(sum(one.rank_right for one in scores)),
        f"{median(took):.1f}" if took else "",
        f"median seconds; the worst {max(took):.1f}" if took else "",
    )
    return drawn


def _mark(good: bool) -> str:
    return "[green]yes[/]" if good else "[red]no[/]"
