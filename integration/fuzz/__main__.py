"""``python -m fuzz``: make programs at random, play them, and say how right their causes are.

What was played is kept in ``artifacts/fuzz/played.jsonl``; with the same ``--seed`` a run goes on
where it was stopped. ``--kept`` only shows what is there.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

from rich.console import Console

from fuzz import show
from fuzz.generate import generate
from fuzz.kept import PlayedProgram, keep, kept
from fuzz.play import FuzzSetting, play
from fuzz.program import RandomProgram
from metta_sandbox.interrupt import INTERRUPTED, interruptible

_ARTIFACTS = Path(__file__).parents[2] / "artifacts" / "fuzz"
#: Of a hundred, so many must have rank and place right.
_GOAL = 97


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit status: 0 if the goal is met."""
    options = _parser().parse_args(arguments)
    console = Console()
    path = options.artifacts / "played.jsonl"
    seeds = options.seeds or list(range(options.seed, options.seed + options.count))
    try:
        if not options.kept:
            with interruptible():
                _play(options, path, _wanted(options, seeds), Console(stderr=True))
    except KeyboardInterrupt:
        return INTERRUPTED
    played = [one for one in kept(path) if _fits(one, options) and one.load == options.load]
    played = [one for one in played if options.kept or one.seed in _last(options, seeds)]
    show.show(played, console)
    return int(not _is_met([one for one in played if one.known]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nox -s fuzz --", description=__doc__)
    parser.add_argument("--count", type=int, default=50, help="how many programs (default: 50)")
    first = "the first one's, or today, for fresh ones every day; the others follow (default: 0)"
    parser.add_argument("--seed", type=_seed, default=0, help=first)
    parser.add_argument("--seeds", type=int, nargs="+", help="these, and no others")
    parser.add_argument("--engine", choices=("process", "compose"), default="process")
    parser.add_argument("--jobs", type=int, default=8, help="programs at once (default: 8)")
    parser.add_argument("--batch", type=int, default=48, help="programs a run of the sandbox")
    parser.add_argument("--load", type=int, default=0, help="busy processes meanwhile")
    parser.add_argument("--only", action="append", help="with this feature; may be repeated")
    parser.add_argument("--again", action="store_true", help="play what was played, too")
    parser.add_argument("--minutes", type=float, help="begin no batch after so many")
    parser.add_argument("--kept", action="store_true", help="play nothing, show what is kept")
    parser.add_argument("--print", action="store_true", help="only print the programs")
    parser.add_argument("--artifacts", type=Path, default=_ARTIFACTS, help="where all is kept")
    return parser


def _seed(text: str) -> int:
    """Read a seed; ``today`` is one that was never played before today."""
    return 10_000 * int(f"{date.today():%Y%m%d}") if text == "today" else int(text)  # noqa: DTZ011


def _wanted(options: argparse.Namespace, seeds: Sequence[int]) -> Iterator[RandomProgram]:
    """Make the programs that the command line asks for; with ``--only``, as many as those."""
    if not options.only or options.seeds:
        return map(generate, seeds)
    fits = (one for one in map(generate, itertools.count(options.seed)) if _has(one, options.only))
    return itertools.islice(fits, options.count)


def _has(program: RandomProgram, only: Sequence[str]) -> bool:
    return set(only) <= set(program.features)


def _last(options: argparse.Namespace, seeds: Sequence[int]) -> set[int]:
    return {one.seed for one in _wanted(options, seeds)}


def _fits(one: PlayedProgram, options: argparse.Namespace) -> bool:
    only = set(options.only or ())
    return one.engine == options.engine and only <= set(one.program["features"])


def _play(
    options: argparse.Namespace, path: Path, programs: Iterator[RandomProgram], console: Console
) -> None:
    def tell(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    if options.print:
        for program in programs:
            for name, text in program.files.items():
                tell(f"--- seed {program.seed}: {name}\n{text}")
            tell(f"--- {program.as_json()}\n")
        return
    done = {
        one.seed
        for one in kept(path)
        if (one.engine, one.load) == (options.engine, options.load) and one.known
    }
    left = (one for one in programs if options.again or one.seed not in done)
    setting = FuzzSetting(options.engine, options.jobs, options.load, options.artifacts, tell)
    began = time.monotonic()
    sofar: list[PlayedProgram] = []
    while batch := list(itertools.islice(left, options.batch)):
        if options.minutes and time.monotonic() - began > 60 * options.minutes:
            break
        for one in play(batch, setting):
            keep(path, one)
            sofar.append(one)
        minutes = (time.monotonic() - began) / 60
        known = [one for one in sofar if one.known]
        tell(f"{show.summary(known)}; {len(sofar) / minutes:.1f} a minute")


def _is_met(known: Sequence[PlayedProgram]) -> bool:
    right = sum(one.score.rank and one.score.place for one in known)
    return bool(known) and 100 * right >= _GOAL * len(known) and not _accuses(known)


def _accuses(known: Sequence[PlayedProgram]) -> bool:
    return any(one.score.accused for one in known)


if __name__ == "__main__":
    raise SystemExit(main())
