"""``python -m benchmarks``: hold the contests, show them, keep every number.

What was measured is kept in ``artifacts/bench/``; ``--write`` puts the last of each contest, of
all that is kept there, into ``docs/benchmarks.md``.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from python_on_whales import DockerClient
from rich.console import Console

from benchmarks import kept, render
from benchmarks.contest import Contest, hold
from benchmarks.machine import machine, versions
from benchmarks.rows import boundary, commands, cookbook, launch, memory, stack, sweep, trial
from benchmarks.setting import BenchmarkSetting
from benchmarks.talking import INSIDE
from metta_sandbox.errors import SandboxError
from metta_sandbox.image.node_image import ImageSpec, ensure_image
from metta_sandbox.interrupt import INTERRUPTED, interruptible

ROWS: dict[str, Callable[[BenchmarkSetting], list[Contest]]] = {
    row.KEY: row.contests
    for row in (trial, sweep, launch, stack, commands, cookbook, memory, boundary)
}
_REPOSITORY = Path(__file__).parents[2]
_KEPT = _REPOSITORY / "artifacts" / "bench"
_NOTE = _REPOSITORY / "docs" / "benchmarks.md"
_ROUNDS, _QUICK = 2, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit status."""
    options = _parser().parse_args(arguments)
    console = Console()
    if options.write and options.kept:
        return _write(console)
    try:
        with interruptible():
            run = _measure(options, Console(stderr=True))
    except KeyboardInterrupt:
        return INTERRUPTED
    except SandboxError as error:
        console.print(str(error), style="red", markup=False)
        return error.exit_status
    for outcome in run.outcomes:
        console.print(render.table(outcome))
    if not options.write:
        return 0
    return _write(console)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nox -s bench --", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, small sizes")
    parser.add_argument("--only", action="append", choices=ROWS, help="this row; may be repeated")
    parser.add_argument("--rounds", type=int, help=f"default: {_ROUNDS}")
    parser.add_argument("--minutes", type=float, help="begin no contest after so many")
    parser.add_argument("--write", action="store_true", help="rewrite its part of the docs")
    parser.add_argument("--kept", action="store_true", help="with --write: measure nothing first")
    return parser


def _measure(options: argparse.Namespace, console: Console) -> kept.Kept:
    def tell(line: str) -> None:
        console.print(line, markup=False, highlight=False)

    taken = datetime.now(timezone.utc)
    folder = Path(tempfile.mkdtemp(prefix="metta-bench-"))
    rounds = options.rounds or (_QUICK if options.quick else _ROUNDS)
    try:
        # Whoever runs inside a container must be able to read it.
        folder.chmod(0o755)
        scripts = folder / "inside"
        shutil.copytree(INSIDE, scripts, ignore=shutil.ignore_patterns("__pycache__"))
        image = ensure_image(ImageSpec(), tell, DockerClient())
        setting = BenchmarkSetting(
            folder=folder,
            name=f"bench-{taken:%H%M%S}-{os.getpid()}",
            image=image.tag,
            image_id=image.id,
            scripts=scripts,
            quick=options.quick,
            tell=tell,
        )
        run = kept.Kept(taken.isoformat(), options.quick, machine(), versions(image.tag), ())
        path = _KEPT / f"{taken:%Y%m%dT%H%M%S}.json"
        ends = time.monotonic() + 60 * (options.minutes or math.inf)
        for row in options.only or ROWS:
            for contest in ROWS[row](setting):
                if time.monotonic() > ends:
                    tell(f"{contest.key}: not begun: {options.minutes:g} minutes are over")
                    continue
                run = replace(run, outcomes=(*run.outcomes, hold(contest, rounds, tell)))
                # After each, so that a long run that is broken off was not for nothing.
                kept.write(run, path)
        tell(f"kept in {path}")
        return run
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(console: Console) -> int:
    runs = [kept.read(path) for path in sorted(_KEPT.glob("*.json"))]
    if not runs:
        console.print(f"nothing is kept in {_KEPT}", style="red")
        return 2
    _NOTE.write_text(render.insert(_NOTE.read_text(), render.markdown(runs)))
    console.print(f"written: {_NOTE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
