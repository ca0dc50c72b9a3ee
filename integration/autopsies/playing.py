"""Plays cells through the product, some at once, and goes on where it was stopped."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from ruamel.yaml import YAML

from autopsies.cells import Cell
from autopsies.judged import Judged, judge, read
from metta_sandbox.errors import InputError
from metta_sandbox.report import results
from metta_sandbox.verdict import Verdict

_BUSY = "while True: pass"


def play_cells(
    cells: Sequence[Cell], artifacts: Path, kept: Path, jobs: int = 4, batch: int = 12
) -> list[Judged]:
    """Play cells that were not yet, note each in a file of JSON lines, and give them all.

    Args:
        cells: Those that are wanted.
        artifacts: Where the artifacts of their runs go.
        kept: The file; what stands in there is not played again.
        jobs: How many are played at once: those that hang wait, and use no processor.
        batch: How many are one run, after which they are noted.

    """
    known = {one.cell for one in read(kept)}
    kept.parent.mkdir(parents=True, exist_ok=True)
    for engine in dict.fromkeys(cell.engine for cell in cells):
        left = iter([one for one in cells if one.engine == engine and one.name not in known])
        while some := list(islice(left, batch)):
            with kept.open("a") as file:
                for one in _play(some, engine, artifacts, jobs):
                    file.write(one.as_json() + "\n")
    wanted = {cell.name for cell in cells}
    return [one for one in read(kept) if one.cell in wanted]


def _play(cells: Sequence[Cell], engine: str, artifacts: Path, jobs: int) -> Iterator[Judged]:
    with tempfile.TemporaryDirectory() as folder:
        for cell in cells:
            YAML(typ="safe", pure=True).dump(cell.scenario, Path(folder) / f"{cell.name}.yaml")
        words = ["run", folder, "--engine", engine, "--artifacts", str(artifacts)]
        command = [sys.executable, "-m", "metta_sandbox", *words, "--jobs", str(jobs)]
        subprocess.run(command, check=False)
    latest = (artifacts / "latest").resolve()
    played = {one.name: one for one in results.read(latest).scenarios}
    for cell in cells:
        result = played.get(cell.name)
        if result is None:
            raise InputError(f"{cell.name} was not played; see {latest}")
        if result.verdict not in {Verdict.SKIPPED, Verdict.ERROR}:
            yield judge(cell, result, latest / cell.name)


@contextmanager
def busy(processes: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Keep the processors busy meanwhile."""
    started = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(processes)]
    try:
        yield started
    finally:
        for one in started:
            one.kill()
            one.wait()
