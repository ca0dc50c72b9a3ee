"""What all rows of a run of the benchmark share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.contest import Tell


@dataclass(frozen=True)
class BenchmarkSetting:
    """See the module.

    Args:
        folder: For whatever is written; removed at the end.
        name: Begins the names of all projects.
        image: The node image, of which everybody's containers are made.
        image_id: The engine's name of it.
        scripts: The folder of the programs that run inside, readable for everybody.
        quick: Whether less is measured.
        tell: Gets a line for each step.

    """

    folder: Path
    name: str
    image: str
    image_id: str
    scripts: Path
    quick: bool
    tell: Tell
