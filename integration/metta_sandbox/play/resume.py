"""A sweep that goes on: what an earlier run observed, and what its control plane remembers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from metta_sandbox import beneath
from metta_sandbox.errors import InputError
from metta_sandbox.play.host_inputs import earlier_folder
from metta_sandbox.play.workspace import give
from metta_sandbox.progress import Progress
from metta_sandbox.scenario.loading import Loaded
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.search import LATEST
from metta_sandbox.stack.engines.base import OBSERVATIONS, StackPlan
from metta_sandbox.words import many

_STATE = "state.sqlite3"


def resume(loaded: Loaded, plan: StackPlan, progress: Progress) -> None:
    """Bring what a scenario resumes to where its nodes and its control plane look for it.

    Args:
        loaded: What is played.
        plan: Where to.
        progress: Gets a line on what is resumed.

    Raises:
        InputError: There is nothing to resume, or not all that is needed for it.

    """
    scenario = loaded.scenario
    source = _find(loaded, plan)
    if source is None:
        if scenario.sweep.resume != LATEST:
            raise InputError(f"sweep.resume: {scenario.sweep.resume} is no longer there")
        progress(f"no earlier run has trials of {scenario.name}: the sweep begins anew")
        return
    states = beneath.find(source, f"api/{_STATE}*")
    _require_own([source / "shared" / OBSERVATIONS, *states], source)
    lines = list(_whole_lines(source, source / "shared" / OBSERVATIONS))
    _require_more(scenario, [json.loads(line) for line in lines], source)
    if not states:
        raise InputError(
            f"sweep.resume: {source / 'api'} has no {_STATE}, and without it run names would begin "
            "anew",
            "keep the whole folder of a sweep that is to be resumed",
        )
    target = plan.run_folder / OBSERVATIONS
    target.write_text("".join(lines))
    give(target)
    (plan.folder / "api").mkdir(exist_ok=True)
    for state in states:
        target = plan.folder / "api" / state.name
        with beneath.open_file(source, state, most=None) as old, target.open("xb") as new:
            shutil.copyfileobj(old, new)
        give(target)
    progress(f"resuming after {many(len(lines), 'trial')}: {source}")


def _require_own(files: Iterable[Path], source: Path) -> None:
    """Make sure that what is copied is the earlier sweep's, and not what a link leads to."""
    for file in files:
        if source.resolve() not in file.resolve().parents:
            raise InputError(f"sweep.resume: {file} is a link to elsewhere", "copy the file itself")


def _require_more(scenario: Scenario, records: list[dict[str, Any]], source: Path) -> None:
    sweep = scenario.sweep
    over = sum(not record.get("retried") for record in records)
    spent = sum(record["observation"]["cost"] for record in records)
    if over >= sweep.trials:
        raise InputError(
            f"sweep.resume: {source} has had {many(over, 'trial')} already, and sweep.trials is "
            f"{sweep.trials}",
            "ask for more trials, or for another sweep",
        )
    if sweep.budget is not None and spent >= sweep.budget:
        raise InputError(
            f"sweep.resume: {source} has cost {spent:g} already, and sweep.budget is "
            f"{sweep.budget:g}",
            "give it a larger one",
        )


def _find(loaded: Loaded, plan: StackPlan) -> Path | None:
    if loaded.scenario.sweep.resume != LATEST:
        return earlier_folder(loaded)
    own = plan.folder.parent
    runs = sorted(own.parent.glob("*"), key=lambda run: run.name, reverse=True)
    for run in runs:
        found = run / plan.scenario
        observed = beneath.size_of(run, found / "shared" / OBSERVATIONS)
        if not run.is_symlink() and run != own and observed is not None:
            return found
    return None


def _whole_lines(source: Path, path: Path) -> Iterator[str]:
    """Read the observations; the last may have been cut off when its writer was killed."""
    if beneath.size_of(source, path) is None:
        return
    text = beneath.read_bytes(source, path).decode(errors="replace")
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if not line.endswith("\n"):
            return
        try:
            float(json.loads(line)["observation"]["cost"])
        except (ValueError, KeyError, TypeError):
            # What stands there is nobody's business: the path may lead anywhere.
            raise InputError(f"sweep.resume: {path}:{number}: no observation") from None
        yield line
