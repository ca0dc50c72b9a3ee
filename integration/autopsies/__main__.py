"""``python -m autopsies``: make every fault of the corpus happen, and score what is said of it."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from ruamel.yaml import YAML

from autopsies import cells
from autopsies.corpus import Known, chosen, once_each, sweeps
from autopsies.judged import misses, table
from autopsies.playing import busy, play_cells
from autopsies.score import Scored, by_kind, each, score
from autopsies.ways import WAYS
from metta_sandbox.report import results
from metta_sandbox.verdict import Verdict

#: Sweeps that are played at once: those that hang wait, and use no processor.
JOBS = 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns 0 if every cause and rank was named right."""
    parser = _parser()
    options = parser.parse_args(arguments)
    with busy(options.load):
        return _play_ways(parser, options) if options.ways else _play_faults(parser, options)


def _play_ways(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    """Play ways of going wrong that no fault makes."""
    words = [word.replace("-", "_") for word in options.only]
    ways = [one for one in WAYS if not words or any(word in one.name for word in words)]
    launchers, engines = options.launcher or cells.LAUNCHERS, [options.engine]
    if options.sample:
        picked = cells.sampled(ways, launchers, engines, options.sample, options.seed)
    else:
        picked = cells.plainest(ways, launchers, engines, mirrored=options.mirrored)
    if not picked:
        parser.error(f"no way of these is known; all: {', '.join(one.name for one in WAYS)}")
    kept = options.kept or options.artifacts / "cells.jsonl"
    if options.kept is None:
        kept.unlink(missing_ok=True)
    judged = play_cells(picked, options.artifacts, kept, options.jobs)
    sys.stdout.write(f"{misses(judged)}\n{table(judged)}\n")
    return 0 if all(one.right and one.happened for one in judged) else 1


def _play_faults(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    """Play faults of the catalogue."""
    # Names are kinds and numbers, as in ``no-name-2``.
    picked = chosen([word.replace("_", "-") for word in options.only])
    if options.kinds:
        picked = tuple(one for one in once_each() if one in picked)
    if not picked:
        parser.error(f"no fault of these is known: {' '.join(options.only)}; all: {_names()}")
    scores = []
    for _ in range(options.times):
        played = play(picked, options.engine, options.artifacts, options.jobs)
        Console().print(each(played))
        scores += played
    Console().print(by_kind(scores))
    return 0 if all(one.cause_right and one.rank_right for one in scores) else 1


def play(picked: Sequence[Known], engine: str, artifacts: Path, jobs: int = JOBS) -> list[Scored]:
    """Play the sweeps of some faults in one run, and score what it says of those it could play.

    Args:
        picked: The faults.
        engine: ``process`` or ``compose``.
        artifacts: Where the run's artifacts go.
        jobs: How many sweeps are played at once.

    """
    needed = sweeps(picked)
    with tempfile.TemporaryDirectory() as folder:
        for sweep in needed:
            YAML(typ="safe", pure=True).dump(sweep.scenario, Path(folder) / f"{sweep.name}.yaml")
        words = ["run", folder, "--engine", engine, "--artifacts", str(artifacts)]
        command = [sys.executable, "-m", "metta_sandbox", *words, "--jobs", str(jobs)]
        subprocess.run(command, check=False)
    latest = (artifacts / "latest").resolve()
    played = {one.name: one for one in results.read(latest).scenarios}
    return [
        one
        for sweep in needed
        if (result := played[sweep.name]).verdict is not Verdict.SKIPPED
        for one in score(sweep, result, latest / sweep.name)
    ]


def _names() -> str:
    return ", ".join(one.name for one in chosen([]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nox -s autopsy --")
    parser.add_argument("only", nargs="*", help="words; faults whose names hold one of them")
    parser.add_argument("--kinds", action="store_true", help="one of each kind, in few sweeps")
    parser.add_argument("--engine", choices=("process", "compose"), default="process")
    parser.add_argument("--times", type=int, default=1, help="how often all is played")
    parser.add_argument("--jobs", type=int, default=JOBS, help="sweeps that are played at once")
    parser.add_argument("--load", type=int, default=0, help="processes that are busy meanwhile")
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts/autopsies"))
    ways = parser.add_argument_group("ways of going wrong that no fault makes")
    ways.add_argument("--ways", action="store_true", help="play those; words pick some by name")
    ways.add_argument(
        "--launcher", action="append", choices=cells.LAUNCHERS, help="who starts the ranks; again"
    )
    ways.add_argument("--mirrored", action="store_true", help="each rank is the odd one once")
    ways.add_argument("--sample", type=int, default=0, help="so many of each launcher, by chance")
    ways.add_argument("--seed", type=int, default=0, help="of that chance")
    ways.add_argument("--kept", type=Path, help="a file to note cells in, and to go on from")
    return parser


if __name__ == "__main__":
    sys.exit(main())
