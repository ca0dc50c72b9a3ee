"""The whole cookbook with forked trials against the whole cookbook under torchrun."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from metta_sandbox.play.options import Options
from metta_sandbox.play.run import run
from metta_sandbox.report import results
from metta_sandbox.report.console import Reporter
from metta_sandbox.report.results import RunResult
from metta_sandbox.scenario.loading import load_all
from metta_sandbox.scenario.model import Scenario

SCENARIOS = Path(__file__).parents[4] / "scenarios"
#: A forked trial's time is what it is forked for.
TIMED = " takes at "


def under(scenario: Scenario, launcher: str) -> Scenario:
    """Let a launcher start the trainers, where the scenario leaves it to warm or to torchrun."""
    trainer = scenario.workload.trainer
    if trainer.launcher not in {"warm", "torchrun"}:
        return scenario
    changed = trainer.model_copy(update={"launcher": launcher})
    workload = scenario.workload.model_copy(update={"trainer": changed})
    return scenario.model_copy(update={"workload": workload})


def played(launcher: str, folder: Path) -> tuple[Path, RunResult]:
    given = load_all((SCENARIOS,), {})
    options = Options(
        given=tuple(replace(one, scenario=under(one.scenario, launcher)) for one in given),
        engine="process",
        artifacts=folder / launcher,
    )
    run(options, Reporter())
    latest = (options.artifacts / "latest").resolve()
    return latest, results.read(latest / results.FILE_NAME)


def what_counts(folder: Path, result: RunResult) -> dict[str, Any]:
    """Pick of each scenario what must not depend on how its ranks are started."""
    counted: dict[str, Any] = {}
    for one in result.scenarios:
        timeline = folder / one.name / "timeline.jsonl"
        lines = timeline.read_text().splitlines() if timeline.exists() else []
        losses: dict[str, list[float]] = {}
        for event in map(json.loads, lines):
            if event.get("event") == "train.step" and "loss" in event:
                losses.setdefault(f"{event['run']} {event['rank']}", []).append(event["loss"])
        digests = {
            str(path.relative_to(folder)): path.read_text()
            for path in sorted(folder.glob(f"{one.name}/trials/*/rank-*.digest"))
        }
        trials = [(each.run, each.status, each.score, each.overrides) for each in one.trials]
        checks = [(each.name, each.verdict) for each in one.checks if TIMED not in each.name]
        counted[one.name] = (trials, checks, losses, digests)
    return counted


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_same_run_names_overrides_losses_digests_and_verdicts(tmp_path: Path) -> None:
    cold, warm = (what_counts(*played(launcher, tmp_path)) for launcher in ("torchrun", "warm"))
    assert warm.keys() == cold.keys()
    for name, expected in cold.items():
        assert warm[name] == expected, name
    assert any(digests for *_, digests in cold.values())
