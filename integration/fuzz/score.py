"""What was said of a program, held against what is true."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fuzz.program import Truth


@dataclass(frozen=True)
class ProgramScore:
    """How right the causes of one program are."""

    #: The rank that is named is one that may be; or nobody is, where that is right.
    rank: bool
    #: A true line stands in the sentence or the call, where one must.
    place: bool
    #: What must be said is: the exception, the status, the signal, both sides.
    said: bool
    #: Ranks that are named as certain, by any cause, and did nothing.
    accused: tuple[int, ...]

    @property
    def right(self) -> bool:
        """Whether all that was said is right."""
        return self.rank and self.place and self.said and not self.accused


def score(truth: Truth, verdict: str, causes: Sequence[Mapping[str, Any]]) -> ProgramScore:
    """Hold the causes of ``results.json`` against the truth."""
    named = {rank for cause in causes if (rank := _named(cause)) is not None}
    accused = tuple(sorted(named - set(truth.ranks)))
    if truth.deviation == "healthy":
        well = verdict == "passed" and not causes
        return ProgramScore(rank=well, place=True, said=well, accused=accused)
    if not causes:
        return ProgramScore(rank=False, place=False, said=False, accused=accused)
    first = causes[0]
    told = f"{first.get('sentence', '')} {first.get('call', '')}"
    rank = first.get("rank")
    mentioned = {int(number) for number in re.findall(r"\branks? (\d+)", told)}
    for some in re.findall(r"\branks ((?:\d+(?:, | and )?)+)", told):
        mentioned |= {int(number) for number in re.findall(r"\d+", some)}
    mentioned |= {one["rank"] for one in first.get("waiting", ()) if one.get("rank") is not None}
    mentioned |= {rank} if rank is not None else set()
    said = not truth.says or re.search(truth.says, told) is not None
    return ProgramScore(
        rank=rank in truth.ranks or (rank is None and truth.open),
        place=not truth.place or any(_stands(line, told) for line in truth.lines),
        said=said and set(truth.both) <= mentioned,
        accused=accused,
    )


def _named(cause: Mapping[str, Any]) -> int | None:
    """Find the rank that a cause accuses, if it is sure."""
    if cause.get("certainty", "certain") != "certain":
        return None
    rank = cause.get("rank")
    return rank if isinstance(rank, int) else None


def _stands(line: str, told: str) -> bool:
    return re.search(rf"{re.escape(line)}(?!\d)", told) is not None
