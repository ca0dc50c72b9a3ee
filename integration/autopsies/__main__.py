"""``python -m autopsies``: make what is known go wrong, and score what is said of it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from autopsies import cells
from autopsies.corpus import OTHER_LAUNCHERS, Known, chosen, corpus, mirrored, once_each, relaunched
from autopsies.judged import JudgedCell, misses, read, table
from autopsies.playing import JOBS, busy, play, play_cells, play_faults
from autopsies.score import by_kind, each
from autopsies.ways import WAYS


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns 0 if enough was named right, and nobody innocent."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.show:
        return _told(read(options.show), options.least)
    with busy(options.load):
        if options.ways:
            return _told(_play_ways(parser, options), options.least)
        picked = _picked_faults(parser, options)
        if options.kept:
            places = (options.engine, options.artifacts, options.kept)
            judged = play_faults(picked, *places, options.jobs, options.patience)
            return _told(judged, options.least)
        return _play_faults(picked, options)


def _play_ways(parser: argparse.ArgumentParser, options: argparse.Namespace) -> list[JudgedCell]:
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
    return play_cells(picked, options.artifacts, kept, options.jobs, options.patience)


def _told(judged: Sequence[JudgedCell], least: int) -> int:
    sys.stdout.write(f"{misses(judged)}\n{table(judged)}\n")
    right = sum(one.right and one.happened for one in judged)
    accused = any(one.innocent_accused for one in judged)
    return 0 if 100 * right >= least * len(judged) and not accused else 1


def _picked_faults(
    parser: argparse.ArgumentParser, options: argparse.Namespace
) -> tuple[Known, ...]:
    """Pick faults of the catalogue."""
    if unknown := set(options.launcher or ()) - {"warm", *OTHER_LAUNCHERS}:
        parser.error(f"faults are not played under {', '.join(sorted(unknown))}")
    faults: list[Known] = []
    for launcher in options.launcher or ["warm"]:
        faults += corpus() if launcher == "warm" else relaunched(launcher)
    if options.mirrored:
        faults = [*mirrored(3), *mirrored(4)]
    # Names are kinds and numbers, as in ``no-name-2``.
    picked = chosen([word.replace("_", "-") for word in options.only], faults)
    if options.kinds:
        picked = tuple(one for one in once_each() if one in picked)
    if not picked:
        names = ", ".join(one.name for one in faults)
        parser.error(f"no fault of these is known: {' '.join(options.only)}; all: {names}")
    return picked


def _play_faults(picked: Sequence[Known], options: argparse.Namespace) -> int:
    scores = []
    for _ in range(options.times):
        played = play(picked, options.engine, options.artifacts, options.jobs, options.patience)
        Console().print(each(played))
        scores += played
    Console().print(by_kind(scores))
    return 0 if all(one.cause_right and one.rank_right for one in scores) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nox -s autopsy --")
    parser.add_argument("only", nargs="*", help="words; those whose names hold one of them")
    parser.add_argument("--kinds", action="store_true", help="one of each kind, in few sweeps")
    parser.add_argument("--engine", choices=cells.ENGINES, default="process")
    parser.add_argument(
        "--launcher", action="append", choices=cells.LAUNCHERS, help="again and again"
    )
    parser.add_argument("--mirrored", action="store_true", help="once for each rank")
    parser.add_argument("--times", type=int, default=1, help="how often all is played")
    parser.add_argument("--jobs", type=int, default=JOBS, help="sweeps that are played at once")
    parser.add_argument("--load", type=int, default=0, help="processes that are busy meanwhile")
    parser.add_argument("--patience", type=int, default=1, help="times as long may silence last")
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts/autopsies"))
    parser.add_argument("--kept", type=Path, help="a file to note in, and to go on from")
    parser.add_argument("--show", type=Path, help="such a file to draw the table of, no more")
    parser.add_argument("--least", type=int, default=95, help="how many of 100 must be right")
    ways = parser.add_argument_group("ways of going wrong that no fault makes")
    ways.add_argument("--ways", action="store_true", help="play those in place of faults")
    ways.add_argument("--sample", type=int, default=0, help="so many of each launcher, by chance")
    ways.add_argument("--seed", type=int, default=0, help="of that chance")
    return parser


if __name__ == "__main__":
    sys.exit(main())
