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

from autopsies.corpus import Known, chosen
from autopsies.score import Scored, score, table
from metta_sandbox.report import results


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns 0 if every cause and rank was named right."""
    options = _parser().parse_args(arguments)
    picked = chosen(options.only)
    scores = play(picked, options.engine, options.artifacts)
    Console().print(table(scores))
    return 0 if all(one.cause_right and one.rank_right for one in scores) else 1


def play(picked: Sequence[Known], engine: str, artifacts: Path) -> list[Scored]:
    """Play the scenarios of some faults in one run, and score what it says.

    Args:
        picked: The faults.
        engine: ``process`` or ``compose``.
        artifacts: Where the run's artifacts go.

    """
    with tempfile.TemporaryDirectory() as folder:
        for known in picked:
            YAML(typ="safe", pure=True).dump(known.scenario, Path(folder) / f"{known.name}.yaml")
        words = ["run", folder, "--engine", engine, "--artifacts", str(artifacts)]
        subprocess.run([sys.executable, "-m", "metta_sandbox", *words], check=False)
    latest = (artifacts / "latest").resolve()
    played = {one.name: one for one in results.read(latest).scenarios}
    return [score(known, played[known.name], latest / known.name) for known in picked]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nox -s autopsy --")
    parser.add_argument("only", nargs="*", help="words; faults whose names hold one of them")
    parser.add_argument("--engine", choices=("process", "compose"), default="process")
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts/autopsies"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
