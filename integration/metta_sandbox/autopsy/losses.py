"""At which step a rank that tells no events first had no number for its loss, by its log."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metta_sandbox.autopsy.seen import LONGEST
from metta_sandbox.autopsy.words import end_of

#: A metric whose value is no number: ``loss=nan``, ``train/loss: NaN``, ``"loss": NaN``.
_LOST = re.compile(
    r"(?<![\w./-])(?P<name>[\w./-]*(?:loss|score|reward|grad_norm)\w*)[\"']?\s*(?:=|:|is|\s)\s*[+-]?nan\b",
    re.IGNORECASE,
)
_STEP = re.compile(
    r"\b(?:step|iter(?:ation)?|batch|epoch|update)\w*[\"']?\s*[=:#]?\s*(?P<step>\d+)", re.IGNORECASE
)


@dataclass(frozen=True)
class LostMetric:
    """Where a rank first printed a metric without a value.

    Attributes:
        step: The step that the line names, or else how many lines with that metric came before.
        line: The line.
        named: Whether the line names the step.

    """

    step: int
    line: str
    named: bool


def first_lost(root: Path, path: Path) -> LostMetric | None:
    """Find the first line with a metric that is no number in a log beneath a folder, or None."""
    text = end_of(root, path)
    return None if text is None else lost_in(text.splitlines())


def lost_in(printed: Sequence[str]) -> LostMetric | None:
    """Find the first line with a metric that is no number; None if there is none."""
    lines = [line[:LONGEST] for line in printed]
    for number, line in enumerate(lines):
        if (found := _LOST.search(line)) is None:
            continue
        step = _STEP.search(line)
        if step is not None:
            return LostMetric(int(step["step"]), line.strip(), named=True)
        before = sum(found["name"] in each for each in lines[:number])
        return LostMetric(before, line.strip(), named=False)
    return None
