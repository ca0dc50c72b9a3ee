"""What nodes told the stand-in for W&B's server: who wrote which run, and whether they agree."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from metta_sandbox import beneath
from metta_sandbox.checks.evidence import Evidence
from metta_sandbox.errors import MachineError
from metta_sandbox.scenario.expect.judgement import (
    EvidenceError,
    Finding,
    Judgement,
    judge,
    unclear,
)
from metta_sandbox.services.wandb.database import STATE
from metta_sandbox.services.wandb.records import Records, RunRecord
from metta_sandbox.words import many

#: Where the stand-in keeps its store, in a scenario's folder.
STORE = Path("api", "wandb")
#: Bytes of it that are read.
_MOST = 1 << 30
#: How many things that it lacks are told.
_FEW = 3


def check(evidence: Evidence) -> Judgement:
    """Check that no two nodes told the same step of a run.

    What clients asked for that the stand-in does not have is a warning.
    """
    with _records(evidence) as records:
        runs = records.runs()
        problems = [
            Finding(_told(run, steps), str(STORE / STATE))
            for run in runs
            if (steps := records.told_by_several(run))
        ]
        lacks = list(records.unknown())
        problems += _unheard(evidence, {run.name: len(records.history(run)) for run in runs})
    if unused := _unused(evidence):
        return unclear(f"no call took the answer {'; '.join(unused)}", "api")
    judgement = judge(problems, f"{many(len(runs), 'run')}, no step of which two nodes told")
    if not lacks:
        return judgement
    more = f", and {len(lacks) - _FEW} more" if len(lacks) > _FEW else ""
    told = "; ".join(lacks[:_FEW])
    return judgement.warning(f"asked for what the stand-in for W&B does not have: {told}{more}")


def _unheard(evidence: Evidence, heard: Mapping[str, int]) -> Iterator[Finding]:
    """Find runs that their client tracked online and finished, of which the server lacks rows."""
    for run in evidence.runs_anywhere():
        online = run.path.parent.name.startswith("run-")
        told, got = len(run.history), heard.get(run.id, 0)
        if online and run.exit_code == 0 and got < told:
            text = f"run {run.id} told {many(told, 'row')} of history, and its server has {got}"
            yield Finding(text, evidence.where(run.path))


def _unused(evidence: Evidence) -> list[str]:
    """List the prescribed answers that no call has taken."""
    said = evidence.scenario.services.wandb
    taken = {
        event.get("rule") for event in evidence.of("api.request") if event.get("service") == "wandb"
    }
    answers = enumerate(said.answers if said else (), 1)
    return [f"{number}, to {one.operation}" for number, one in answers if number not in taken]


def _told(run: RunRecord, steps: Mapping[int, tuple[str, ...]]) -> str:
    nodes = sorted({node for who in steps.values() for node in who})
    return (
        f"run {run.name} of {run.project}: {' and '.join(nodes)} all told "
        f"{many(len(steps), 'step')}, the first one {min(steps)}"
    )


@contextmanager
def _records(evidence: Evidence) -> Iterator[Records]:
    """Open a copy of the store, as whoever wrote it may have put something else in its place.

    Raises:
        EvidenceError: It is missing, or no store.

    """
    place = str(STORE / STATE)
    with tempfile.TemporaryDirectory(prefix="metta-") as folder:
        try:
            for name in (STATE, f"{STATE}-wal"):
                path = evidence.folder / STORE / name
                if beneath.size_of(evidence.folder, path) is not None:
                    content = beneath.read_bytes(evidence.folder, path, most=_MOST)
                    Path(folder, name).write_bytes(content)
            records = Records(Path(folder))
        except (OSError, MachineError) as error:
            raise EvidenceError(place, str(error)) from error
        try:
            yield records
        except (sqlite3.Error, ValueError) as error:
            raise EvidenceError(place, f"no store of W&B's: {error}") from error
        finally:
            records.close()
