"""W&B: one offline run for each trial, complete, and written by rank 0 only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from metta_sandbox.checks.evidence import Evidence, TrialRecord
from metta_sandbox.scenario.expect.judgement import (
    Finding,
    Judgement,
    differences,
    flat,
    judge,
    same,
)
from metta_sandbox.scenario.expect.kinds.wandb import run_id
from metta_sandbox.wandb_file import OfflineRun
from metta_sandbox.words import many


def check(evidence: Evidence) -> Judgement:
    """Compare the offline runs with the trials they belong to."""
    if not evidence.trials:
        return judge(["no trial finished, so no W&B run can be compared with one"], "")
    runs = evidence.wandb_runs
    counts = Counter(run_id(run) for run in runs)
    names = list(dict.fromkeys((*evidence.named, *(trial.run for trial in evidence.trials))))
    problems = [
        Finding(f"expected one W&B run of {name}, saw {counts[name]} in wandb/", "wandb")
        for name in names
        if counts[name] != 1
    ]
    trials = {trial.run: trial for trial in evidence.trials}
    for run in runs:
        place = evidence.where(run.path)
        if run_id(run) not in names:
            problems.append(Finding("belongs to no trial", place))
        problems += [Finding(problem, place) for problem in _identity(evidence, run)]
        if trial := trials.get(run_id(run)):
            problems += [Finding(problem, place) for problem in _content(evidence, trial, run)]
    places = (evidence.where(run.path) for run in runs)
    return judge(problems, f"{many(len(runs), 'run')}, written by rank 0 only", places)


def _identity(evidence: Evidence, run: OfflineRun) -> Iterator[str]:
    sweep, master = evidence.scenario.sweep.name, evidence.scenario.hosts[0]
    if run.name != run.id:
        yield f"expected name {run.id!r}, saw {run.name!r}"
    if run.group != sweep:
        yield f"expected group {sweep!r}, saw {run.group!r}"
    # Nodes that are local processes share the machine's host name, which tells nothing.
    if run.host in evidence.scenario.hosts and run.host != master:
        yield f"expected it from {master}, saw {run.host}"


def _content(evidence: Evidence, trial: TrialRecord, run: OfflineRun) -> Iterator[str]:
    for difference in differences(evidence.overrides(trial.run), run.config):
        yield f"config: {difference}"
    if trial.status != "completed":
        return
    if run.truncated or run.exit_code != 0:
        how = "cut off" if run.truncated else f"finished with {run.exit_code}"
        yield f"expected a finished run of a completed trial, saw it {how}"
    steps = evidence.scenario.workload.trainer.bundled or evidence.of("train.step", trial.run)
    if steps and not any(not key.startswith("_") for row in run.history for key in row):
        yield f"expected a history, saw {many(len(run.history), 'row')} without a metric"
    metric = evidence.scenario.sweep.metric
    summary = flat(run.summary)
    if trial.score is None or not same(summary.get(metric), trial.score):
        yield (
            f"expected summary {metric!r} to be the score {trial.score}, "
            f"saw {summary.get(metric, 'none')}"
        )
