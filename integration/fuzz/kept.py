"""What was played, one JSON object a line, by seed: a run goes on where it was stopped."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fuzz.score import ProgramScore


@dataclass(frozen=True)
class PlayedProgram:
    """One program that was played."""

    seed: int
    engine: str
    #: How many busy processes there were beside it.
    load: int
    program: dict[str, Any]
    verdict: str
    reason: str
    causes: list[dict[str, Any]]
    #: Of the scenario, as the sandbox counts them.
    seconds: float
    score: ProgramScore

    @property
    def known(self) -> bool:
        """Whether the sandbox came to a verdict of its own; an error is none."""
        return self.verdict not in {"error", "skipped"}


def keep(path: Path, played: PlayedProgram) -> None:
    """Add a program to the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(asdict(played)) + "\n")


def kept(path: Path) -> list[PlayedProgram]:
    """All of a file; of a seed that was played again, the last. A line cut short is left out."""
    found: dict[tuple[int, str, int], PlayedProgram] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            read = json.loads(line)
        except json.JSONDecodeError:
            continue
        accused = tuple(read["score"].pop("accused"))
        one = PlayedProgram(**(read | {"score": ProgramScore(**read["score"], accused=accused)}))
        found[one.seed, one.engine, one.load] = one
    return list(found.values())
