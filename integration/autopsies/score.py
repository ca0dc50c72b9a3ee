"""Holds what was said of a fault against what is known of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.markup import escape
from rich.table import Table

from autopsies.corpus import FaultySweep, Known
from autopsies.judged import JudgedCell, entries_of
from metta_sandbox.report.results import ScenarioResult


@dataclass(frozen=True)
class Scored:
    """What was said of one fault, and whether it is right.

    Args:
        known: The fault.
        fired: Whether it was set off.
        proven: Whether it was shown to have happened.
        kind: The kind that was named first; empty if no cause was.
        rank: The rank that was.
        sentence: What was said.
        seconds: From the fault until the sentence; None if either never came.

    """

    known: Known
    proven: bool
    fired: bool = True
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
        """Whether the rank that was named is the true one."""
        return not self.known.kinds or self.known.rank in (None, self.rank)


def score(sweep: FaultySweep, result: ScenarioResult, folder: Path) -> list[Scored]:
    """Read what became of a sweep's faults from its scenario's artifacts."""
    entries = list(entries_of(folder / "timeline.jsonl"))
    return [_score(known, sweep, result, entries) for known in sweep.faults]


def _score(
    known: Known, sweep: FaultySweep, result: ScenarioResult, entries: Sequence[dict[str, object]]
) -> Scored:
    alone = len(sweep.faults) == 1
    causes = (one for one in result.causes if alone or one.trial == known.trial)
    cause = next(causes, None)
    fault = next((one for one in result.faults if one.name == known.name), None)
    sentence = cause.sentence if cause else result.reason
    struck = _moment(entries, fault=known.name, action="struck")
    told = _moment(entries, step=f"cause: {sentence}")
    return Scored(
        known,
        proven=bool(fault and fault.proven),
        fired=bool(fault and fault.fired),
        kind=cause.kind if cause else "",
        rank=cause.rank if cause else None,
        sentence=sentence,
        seconds=between(struck, told),
    )


def as_judged(one: Scored, engine: str) -> JudgedCell:
    """Give what came of a fault as what comes of a cell is given."""
    known = one.known
    innocent = not known.kinds or known.rank not in (None, one.rank)
    return JudgedCell(
        cell=f"{known.name}-{engine}",
        way=known.key,
        launcher=known.launcher,
        engine=engine,
        fine=not known.kinds,
        verdict="",
        happened=one.proven,
        cause_right=one.cause_right,
        rank_right=one.rank_right,
        innocent_accused=one.rank is not None and innocent,
        kind=one.kind,
        rank=one.rank,
        sentence=one.sentence,
        seconds=one.seconds,
        lacks="" if one.cause_right else " or ".join(known.kinds) or "nothing is wrong",
    )


def between(struck: float | None, told: float | None) -> float | None:
    """Give the seconds from a fault to its sentence; None for one that lasted from the start."""
    if struck is None or told is None or told < struck:
        return None
    return told - struck


def _moment(entries: Iterable[dict[str, object]], **fields: str) -> float | None:
    """Say when something was first noted that begins so, in seconds since the run began."""
    for entry in entries:
        if all(str(entry.get(key, "")).startswith(value) for key, value in fields.items()):
            return float(str(entry["received"]))
    return None


def each(scores: Sequence[Scored]) -> Table:
    """Draw a line for each fault."""
    drawn = Table("fault", "proven", "cause", "rank", "seconds", "what was said", title="Autopsies")
    for one in scores:
        drawn.add_row(
            one.known.name,
            _mark(one.proven),
            f"{_mark(one.cause_right)} {one.kind}",
            f"{_mark(one.rank_right)} {'' if one.rank is None else one.rank}",
            "" if one.seconds is None else f"{one.seconds:.1f}",
            escape(one.sentence),
        )
    return drawn


def by_kind(scores: Sequence[Scored]) -> Table:
    """Draw a line for each kind of fault, and a line for all."""
    titles = ("fault", "times", "fired", "proven", "cause right", "rank right", "median s", "worst")
    drawn = Table(*titles, title="From the fault to its sentence")
    for key in dict.fromkeys(one.known.key for one in scores):
        drawn.add_row(key, *_counts([one for one in scores if one.known.key == key]))
    drawn.add_section()
    drawn.add_row("all", *_counts(scores))
    return drawn


def _counts(scores: Sequence[Scored]) -> list[str]:
    took = [one.seconds for one in scores if one.seconds is not None]
    return [
        str(len(scores)),
        str(sum(one.fired for one in scores)),
        str(sum(one.proven for one in scores)),
        str(sum(one.cause_right for one in scores)),
        str(sum(one.rank_right for one in scores)),
        f"{median(took):.1f}" if took else "",
        f"{max(took):.1f}" if took else "",
    ]


def _mark(good: bool) -> str:
    return "[green]yes[/]" if good else "[red]no[/]"
