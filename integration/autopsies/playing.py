"""Plays faults and cells through the product, and goes on where it was stopped."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from autopsies.cells import AutopsyCell
from autopsies.corpus import Known, sweeps
from autopsies.judged import JudgedCell, judge, read
from autopsies.score import Scored, as_judged, score
from metta_sandbox.report import results
from metta_sandbox.report.results import ScenarioResult
from metta_sandbox.verdict import Verdict

#: Sweeps that are played at once: those that hang wait, and use no processor.
JOBS = 4
#: Sweeps that are one run, after which they are noted.
_BATCH = 12
_BUSY = "while True: pass"


def play(
    picked: Sequence[Known], engine: str, artifacts: Path, jobs: int = JOBS, patience: int = 1
) -> list[Scored]:
    """Play the sweeps of some faults in one run, and score what it says of those it could play.

    Args:
        picked: The faults.
        engine: ``process`` or ``compose``.
        artifacts: Where the run's artifacts go.
        jobs: How many sweeps are played at once.
        patience: How many times as long as usual silence may last, on a machine that is busy.

    """
    needed = {sweep.name: sweep for sweep in sweeps(picked)}
    scenarios = {name: sweep.scenario for name, sweep in needed.items()}
    return [
        one
        for result, folder in _play(scenarios, engine, artifacts, jobs, patience)
        if result.verdict is not Verdict.SKIPPED
        for one in score(needed[result.name], result, folder)
    ]


def play_faults(
    picked: Sequence[Known],
    engine: str,
    artifacts: Path,
    kept: Path,
    jobs: int = JOBS,
    patience: int = 1,
) -> list[JudgedCell]:
    """Play faults that were not yet, note each in a file of JSON lines, and give them all."""
    names = {f"{one.name}-{engine}" for one in picked}
    known = {one.cell for one in _noted(kept)}
    left = iter(
        sweep
        for sweep in sweeps(picked)
        if not known.issuperset(f"{one.name}-{engine}" for one in sweep.faults)
    )
    while some := list(islice(left, _BATCH)):
        faults = [one for sweep in some for one in sweep.faults]
        scores = play(faults, engine, artifacts, jobs, patience)
        _note(kept, (as_judged(one, engine) for one in scores))
    return [one for one in read(kept) if one.cell in names]


def play_cells(
    cells: Sequence[AutopsyCell], artifacts: Path, kept: Path, jobs: int = JOBS, patience: int = 1
) -> list[JudgedCell]:
    """Play cells that were not yet, note each in a file of JSON lines, and give them all.

    Args:
        cells: Those that are wanted.
        artifacts: Where the artifacts of their runs go.
        kept: The file; what stands in there is not played again.
        jobs: How many are played at once.
        patience: How many times as long as usual silence may last, on a machine that is busy.

    """
    known = {one.cell for one in _noted(kept)}
    for engine in dict.fromkeys(cell.engine for cell in cells):
        left = iter([one for one in cells if one.engine == engine and one.name not in known])
        while some := list(islice(left, _BATCH)):
            _note(kept, _judged(some, engine, artifacts, jobs, patience))
    wanted = {cell.name for cell in cells}
    return [one for one in read(kept) if one.cell in wanted]


def _judged(
    cells: Sequence[AutopsyCell], engine: str, artifacts: Path, jobs: int, patience: int
) -> Iterator[JudgedCell]:
    by_name = {cell.name: cell for cell in cells}
    scenarios = {name: cell.scenario for name, cell in by_name.items()}
    for result, folder in _play(scenarios, engine, artifacts, jobs, patience):
        if result.verdict not in {Verdict.SKIPPED, Verdict.ERROR}:
            yield judge(by_name[result.name], result, folder)


def _play(
    scenarios: Mapping[str, Mapping[str, Any]],
    engine: str,
    artifacts: Path,
    jobs: int,
    patience: int,
) -> Iterator[tuple[ScenarioResult, Path]]:
    """Play scenarios in one run; give each one's result and the folder of its artifacts."""
    with tempfile.TemporaryDirectory() as folder:
        for name, scenario in scenarios.items():
            seconds = patience * int(scenario["longest_silence"].removesuffix("s"))
            played = {**scenario, "longest_silence": f"{seconds}s", "deadline": f"{10 * patience}m"}
            YAML(typ="safe", pure=True).dump(played, Path(folder) / f"{name}.yaml")
        words = ["run", folder, "--engine", engine, "--artifacts", str(artifacts)]
        command = [sys.executable, "-m", "metta_sandbox", *words, "--jobs", str(jobs)]
        subprocess.run(command, check=False)
    latest = (artifacts / "latest").resolve()
    for result in results.read(latest).scenarios:
        if result.name in scenarios:
            yield result, latest / result.name


def _noted(kept: Path) -> list[JudgedCell]:
    kept.parent.mkdir(parents=True, exist_ok=True)
    return read(kept)


def _note(kept: Path, judged: Iterable[JudgedCell]) -> None:
    with kept.open("a") as file:
        for one in judged:
            file.write(one.as_json() + "\n")
            file.flush()


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
