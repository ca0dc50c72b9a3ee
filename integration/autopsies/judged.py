"""Holds what was said of a cell against the truth about its way."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autopsies.cells import AutopsyCell
from metta_sandbox.autopsy.cause import Cause
from metta_sandbox.report.results import ScenarioResult
from metta_sandbox.verdict import Verdict

#: A line of a trainer that got on.
_PROGRESS = re.compile(r"\bstep \d+ loss=")
_OTHER_NUMBERS = re.compile(
    r"(?:\.(?:py|sh):|\b(?:signal|ranks?|trial|number|step|port|line|node) )\d+(?:\.\d+)*"
    r"|\d+\.\d+\.[\d.:]+"
)


@dataclass(frozen=True)
class JudgedCell:
    """What came of one cell.

    Args:
        cell: Its name.
        way: What went wrong.
        launcher: Who started the ranks.
        engine: What the nodes were.
        fine: Whether nothing was wrong.
        verdict: What the run said of it.
        happened: Whether what was to go wrong did, or what was fine went through.
        cause_right: Whether the cause is the true one.
        rank_right: Whether the rank is.
        innocent_accused: Whether somebody was named who had nothing to do with it.
        kind: The kind that was named first; empty if no cause was.
        rank: The rank that was.
        sentence: What was said.
        seconds: From the last step that anybody told until the sentence.
        lacks: What a right sentence has, and this one has not.

    """

    cell: str
    way: str
    launcher: str
    engine: str
    fine: bool
    verdict: str
    happened: bool
    cause_right: bool
    rank_right: bool
    innocent_accused: bool
    kind: str
    rank: int | None
    sentence: str
    seconds: float | None
    lacks: str

    @property
    def right(self) -> bool:
        """Whether cause and rank are, and nobody else was named."""
        return self.cause_right and self.rank_right and not self.innocent_accused

    def as_json(self) -> str:
        """Give the verdict on a cell as a line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> JudgedCell:
        """Read what ``as_json`` wrote."""
        fields: dict[str, Any] = json.loads(line)
        return cls(**fields)


def judge(cell: AutopsyCell, result: ScenarioResult, folder: Path) -> JudgedCell:
    """Read what was said of a cell from its scenario's result and artifacts."""
    cause = result.causes[0] if result.causes else None
    may = cell.way.may_be_blamed(cell.odd, cell.ranks)
    named = cause.rank if cause else None
    lacks = lacking(cell, cause)
    began, seconds = _seconds(folder / "timeline.jsonl", cause.sentence if cause else "")
    passed = result.verdict is Verdict.PASSED
    return JudgedCell(
        cell=cell.name,
        way=cell.way.name,
        launcher=cell.launcher,
        engine=cell.engine,
        fine=cell.way.fine,
        verdict=result.verdict.value,
        happened=passed == cell.way.fine and (began or not cell.way.steps),
        cause_right=not lacks,
        rank_right=named in may and (cell.way.fine or cause is not None),
        innocent_accused=named is not None and named not in may,
        kind=cause.kind if cause else "",
        rank=named,
        sentence=cause.sentence if cause else result.reason,
        seconds=seconds,
        lacks=lacks,
    )


def lacking(cell: AutopsyCell, cause: Cause | None) -> str:
    """Say what a right cause would have and this one has not; empty if it is right."""
    if cell.way.fine:
        return "nothing is wrong" if cause else ""
    if cause is None:
        return "a cause"
    said = f"{cause.sentence} {cause.call}"
    # Sizes and statuses are no ranks, trials, signals, lines or steps.
    counts = _OTHER_NUMBERS.sub("", said)
    for group in cell.way.words:
        if not any(_has(counts if word.isdigit() else said, word) for word in group if word):
            return " or ".join(word for word in group if word)
    for word in cell.way.never:
        if word == cause.kind or (word not in _KINDS and _has(said, word)):
            return f"not {word}"
    return ""


#: Kinds are held against the kind alone: a sentence may have their words.
_KINDS = frozenset(
    {"NaN", "disk full", "port taken", "peer unreachable", "collective mismatch"}
    | {"killed by the kernel"}
)


def _has(text: str, word: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


def _seconds(timeline: Path, sentence: str) -> tuple[bool, float | None]:
    """Say whether a step was told, and the seconds from the last one to the sentence."""
    last = told = None
    for entry in entries_of(timeline):
        # How sure it is may follow.
        if sentence and str(entry.get("step")).startswith(f"cause: {sentence}"):
            told = float(entry["received"])
            break
        if _PROGRESS.search(str(entry.get("line", ""))):
            last = float(entry["received"])
    return last is not None, None if last is None or told is None else told - last


def entries_of(timeline: Path) -> Iterator[dict[str, Any]]:
    """Read the entries of a ``timeline.jsonl``; none if it is not there."""
    if timeline.exists():
        with timeline.open() as file:
            yield from map(json.loads, file)


def read(kept: Path) -> list[JudgedCell]:
    """Read what was judged before; nothing if there is no such file."""
    if not kept.exists():
        return []
    return [JudgedCell.from_json(line) for line in kept.read_text().splitlines() if line]


def table(judged: Sequence[JudgedCell], *, by: str = "launcher") -> str:
    """Draw a table of Markdown: a line for each launcher (or way) and engine, and one for all."""
    titles: tuple[str, ...] = (by, "engine", "cells", "happened", "cause right", "rank right")
    titles += ("innocent accused", "median s", "worst s")
    lines = ["| " + " | ".join(titles) + " |", "|" + " --- |" * len(titles)]
    groups = dict.fromkeys((str(getattr(one, by)), one.engine) for one in judged)
    for group in sorted(groups):
        ones = [one for one in judged if (getattr(one, by), one.engine) == group]
        lines.append(_line(*group, ones))
    lines.append(_line("all", "", judged))
    return "\n".join(lines) + "\n"


def _line(name: str, engine: str, judged: Sequence[JudgedCell]) -> str:
    took = sorted(one.seconds for one in judged if one.seconds is not None)
    numbers = (
        len(judged),
        sum(one.happened for one in judged),
        sum(one.cause_right for one in judged),
        sum(one.rank_right for one in judged),
        sum(one.innocent_accused for one in judged),
    )
    times = [f"{took[len(took) // 2]:.1f}", f"{took[-1]:.1f}"] if took else ["", ""]
    return "| " + " | ".join([name, engine, *map(str, numbers), *times]) + " |"


def misses(judged: Sequence[JudgedCell]) -> str:
    """List the cells that are wrong: what was said, and what was lacking."""
    lines = []
    for one in judged:
        if one.right and one.happened:
            continue
        faults = [
            word
            for word, there in (
                (f"lacks {one.lacks}", not one.cause_right),
                ("wrong rank", not one.rank_right),
                ("INNOCENT ACCUSED", one.innocent_accused),
                (f"did not happen ({one.verdict})", not one.happened),
            )
            if there
        ]
        said = one.sentence.replace("\n", " ")[:400]
        lines.append(f"- `{one.cell}`: {', '.join(faults)}. Rank {one.rank}, {one.kind}: {said}")
    return "\n".join(lines) + "\n" if lines else ""
