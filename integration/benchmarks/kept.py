"""A run of the benchmark as it is kept: machine, versions and every raw number."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from benchmarks.outcome import ContestOutcome


@dataclass(frozen=True)
class Kept:
    """A benchmark's run as it is kept.

    Args:
        taken: The day and time (UTC) at which it began.
        quick: Whether it was one that only tries whether all works.
        machine: What it ran on, by what it is.
        versions: Of what was used, by name.
        outcomes: What came of each contest.

    """

    taken: str
    quick: bool
    machine: dict[str, str]
    versions: dict[str, str]
    outcomes: tuple[ContestOutcome, ...]


_ADAPTER = TypeAdapter(Kept)


def write(kept: Kept, path: Path) -> None:
    """Keep a run in a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_ADAPTER.dump_python(kept, mode="json"), indent=1) + "\n")


def read(path: Path) -> Kept:
    """Read what ``write`` wrote.

    Raises:
        ValueError: It is something else.

    """
    return _ADAPTER.validate_json(path.read_bytes())


def latest(runs: Sequence[Kept]) -> list[tuple[Kept, ContestOutcome]]:
    """Choose the last outcome of each contest, with the run it is of, in the order of contests.

    One that was taken quickly counts only where there is no other.
    """
    found: dict[str, tuple[Kept, ContestOutcome]] = {}
    for run in sorted(runs, key=lambda one: (not one.quick, one.taken)):
        for outcome in run.outcomes:
            found[outcome.key] = run, outcome
    return list(found.values())
