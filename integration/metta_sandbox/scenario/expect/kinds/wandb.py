"""What stands in the offline W&B runs of trials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator
from typing_extensions import Self

from metta_sandbox.scenario.base import Misfit
from metta_sandbox.scenario.expect.bounds import Count, Wanted, Which, tell, whose
from metta_sandbox.scenario.expect.judgement import Finding, Judgement, flat, judge, unlike
from metta_sandbox.scenario.expect.kind import CheckKind, CheckPair
from metta_sandbox.scenario.expect.selection import across, title
from metta_sandbox.scenario.expect.values import NOTHING, fits, short, unlike_value
from metta_sandbox.scenario.search import Sweep
from metta_sandbox.scenario.workload import Workload
from metta_sandbox.words import many

if TYPE_CHECKING:
    from metta_sandbox.checks.evidence import Evidence, TrialRecord
    from metta_sandbox.wandb_file import OfflineRun


class WandbCheck(CheckKind):
    """What stands in a trial's offline W&B run: the sandbox's, or else the trainer's own."""

    key = "wandb"
    about = "Content of the trials' offline W&B runs."
    example = "wandb: {history: {at_least: 10}, summary: {status: completed}}"

    of: Which = Field(
        default="all",
        description="Which trials: all, any, best, first, last, or a number from 1. With "
        "`workload.run`: every W&B run there is, or `any`.",
    )
    rank: int | None = Field(
        default=None,
        ge=0,
        description="The rank whose own runs, tracked by your trainer, are meant. Without it, the "
        "sandbox's run of the trial must hold it, or else all that your trainer tracked.",
    )
    history: Count | None = Field(
        default=None,
        description="How many rows its history has. Our run of a trainer that emits no "
        "`train.step` has none, only a summary.",
    )
    summary: dict[str, Wanted] = Field(
        default_factory=dict, description="Values of its summary by dotted key, or bounds."
    )
    config: dict[str, Wanted] = Field(
        default_factory=dict, description="Values of its config by dotted key, or bounds."
    )

    @model_validator(mode="after")
    def _say_something(self) -> Self:
        if self.history is None and not self.summary and not self.config:
            raise ValueError("expected history, summary or config")
        return self

    @property
    def wanted(self) -> str:
        """What the W&B runs must hold."""
        words = [] if self.history is None else [f"{self.history.of('row')} of history"]
        words += [f"summary {key} {tell(value)}" for key, value in self.summary.items()]
        words += [f"config {key} {tell(value)}" for key, value in self.config.items()]
        return ", ".join(words)

    def impossible(self, ranks: int, _workload: Workload, _sweep: Sweep) -> Iterator[Misfit]:
        """Find a rank that is not there."""
        if self.rank is not None and self.rank >= ranks:
            yield ("rank",), f"there is no rank {self.rank} among {many(ranks, 'rank')}"

    def __str__(self) -> str:
        rank = "" if self.rank is None else f"rank {self.rank} in "
        return f"W&B run of {rank}{whose(self.of)} has {self.wanted}"


def check(expected: WandbCheck, evidence: Evidence) -> Judgement:
    """Check the content of the offline W&B runs of trials."""
    runs: dict[str, list[OfflineRun]] = {}
    for run in evidence.wandb_runs:
        runs.setdefault(run_id(run), []).append(run)
    if evidence.scenario.workload.run is not None:
        return _untried(expected, evidence)

    holding: dict[str, OfflineRun] = {}

    def look(trial: TrialRecord) -> Iterator[Finding]:
        """Find what is wrong with the first of these that there is: ours, and the trainer's own."""
        tracked = evidence.trainers_runs(trial.run)
        theirs = [run for rank, run in tracked if expected.rank in {None, rank}]
        ours = [] if expected.rank is not None else runs.get(trial.run, [])
        found: list[Finding] = []
        for several in (ours, theirs):
            wrong = [
                each for run in several for each in _content(expected, evidence, run, title(trial))
            ]
            if several and not wrong:
                holding[trial.run] = several[0]
                return
            found += wrong
        rank = "" if expected.rank is None else f" of rank {expected.rank}'s own"
        missing = unlike(title(trial), f"an offline W&B run{rank}", "none", "wandb")
        yield from found or [missing]

    def tell(trial: TrialRecord) -> Finding:
        run = holding[trial.run]
        return Finding(f"{_asked(expected, run)} in {title(trial)}", evidence.where(run.path))

    return across(evidence, expected.of, evidence.trials, look, tell)


def _untried(expected: WandbCheck, evidence: Evidence) -> Judgement:
    """Look at the runs of a command of the user's, which has no trials that we know."""
    runs = evidence.wandb_runs
    if not runs:
        return judge([unlike("wandb", "an offline W&B run", "none", "wandb")], "")
    found = [list(_content(expected, evidence, run, run_id(run))) for run in runs]
    if expected.of == "any" and not all(found):
        runs = tuple(run for run, wrong in zip(runs, found, strict=True) if not wrong)
        found = []
    held = "; ".join(f"{_asked(expected, run)} in {run_id(run)}" for run in runs)
    wrong = [each for some in found for each in some]
    return judge(wrong, held, (evidence.where(run.path) for run in runs))


def _asked(expected: WandbCheck, run: OfflineRun) -> str:
    """Tell what a run has of what is asked for."""
    told = [] if expected.history is None else [f"{many(len(run.history), 'row')} of history"]
    told += [f"{key} {short(_find(run.summary, key))}" for key in expected.summary]
    told += [f"{key} {short(_find(run.config, key))}" for key in expected.config]
    return ", ".join(told)


def _content(
    expected: WandbCheck, evidence: Evidence, run: OfflineRun, who: str
) -> Iterator[Finding]:
    place = evidence.where(run.path)
    if expected.history is not None and not expected.history.hold(len(run.history)):
        yield unlike(f"{who}: history", expected.history.of("row"), str(len(run.history)), place)
    for name, wanted, found in (
        ("summary", expected.summary, run.summary),
        ("config", expected.config, run.config),
    ):
        for key, value in wanted.items():
            seen = _find(found, key)
            if not fits(value, seen):
                yield unlike_value(f"{who}: {name} {key}", value, seen, place)


def _find(content: Mapping[str, Any], key: str) -> Any:
    return content[key] if key in content else flat(content).get(key, NOTHING)


def run_id(run: OfflineRun) -> str:
    """Give the id of a run, which is its trial's name."""
    # A run that ends before it was opened says its id only by its file's name.
    return run.id or run.path.stem.removeprefix("run-")


CHECK = CheckPair(WandbCheck, check)
