"""How many trials completed, failed and are pending."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field, model_validator
from typing_extensions import Self

from metta_sandbox.scenario.base import Misfit
from metta_sandbox.scenario.expect.bounds import Bounds, Count
from metta_sandbox.scenario.expect.judgement import Finding, Judgement, judge
from metta_sandbox.scenario.expect.kind import CheckKind, CheckPair
from metta_sandbox.scenario.expect.selection import record
from metta_sandbox.scenario.search import Sweep
from metta_sandbox.scenario.workload import Workload

if TYPE_CHECKING:
    from metta_sandbox.checks.evidence import Evidence, TrialRecord


class TrialsCheck(CheckKind):
    """How many trials end in which way."""

    key = "trials"
    about = "How many trials `completed`, `failed` and are `pending`."
    example = "trials: {completed: {at_least: 2}, failed: 0}"

    completed: Count | None = Field(default=None, description="Trials that trained and scored.")
    failed: Count | None = Field(
        default=None, description="Trials that began and did not complete, pending ones too."
    )
    pending: Count | None = Field(
        default=None, description="Trials that began and whose end nobody recorded."
    )

    @model_validator(mode="after")
    def _say_something(self) -> Self:
        if self.completed is None and self.failed is None and self.pending is None:
            raise ValueError("expected completed, failed or pending")
        return self

    @property
    def voids(self) -> frozenset[str]:
        """The standing checks of what trials leave, as far as trials need not complete."""
        none = self.completed is not None and self.completed.equals == 0
        return frozenset({"trials"} | ({"digests", "checkpoints", "world size"} if none else set()))

    @property
    def wanted(self) -> str:
        """How many trials must end in which way."""
        parts = (("completed", self.completed), ("failed", self.failed), ("pending", self.pending))
        return ", ".join(f"{bounds} {what}" for what, bounds in parts if bounds is not None)

    def impossible(self, _ranks: int, workload: Workload, sweep: Sweep) -> Iterator[Misfit]:
        """Find more trials than there are."""
        if workload.run is not None:
            return
        completed = _least(self.completed)
        if completed > sweep.trials:
            yield ("completed",), f"at most {sweep.trials} can complete: {sweep.why_so_many}"
            return
        failed = sweep.runs - completed
        for key, bounds in (("failed", self.failed), ("pending", self.pending)):
            if _least(bounds) > failed:
                beside = f" beside {completed} completed" if completed else ""
                yield (key,), f"at most {failed} can be{beside}: {sweep.why_so_many}"

    def __str__(self) -> str:
        return f"trials: {self.wanted}"


def _least(bounds: Bounds | None) -> int:
    if bounds is None:
        return 0
    return (bounds.at_least or 0) if bounds.equals is None else bounds.equals


def count(expected: TrialsCheck, evidence: Evidence) -> Judgement:
    """Check the numbers of trials against those allowed.

    Every trial that began and did not complete has failed, whether or not anybody could write so.
    """
    completed = len(evidence.completed)
    failed = len(evidence.begun) - completed
    problems = [
        Finding(f"expected {bounds} {what}, saw {number}", seen=f"{number} {what}")
        for what, bounds, number in (
            ("completed", expected.completed, completed),
            ("failed", expected.failed, failed),
            ("pending", expected.pending, len(unfinished(evidence))),
        )
        if bounds is not None and not bounds.hold(number)
    ]
    if not evidence.begun:
        problems.append(Finding("no trial ever began"))
    if problems:
        problems += [told_of(trial) for trial in evidence.trials if trial.status != "completed"]
        problems += map(Finding, unfinished(evidence))
    places = (evidence.where(record(evidence, trial)) for trial in evidence.trials)
    return judge(problems, f"{completed} completed, {failed} failed", places)


def told_of(trial: TrialRecord) -> Finding:
    """Tell how a trial came out, and why."""
    text = f"{trial.status}: {trial.reason or 'no reason given'}"
    return Finding(text, f"trials/{trial.run}/trial.json", f"{trial.run}: {text}")


def unfinished(evidence: Evidence) -> list[str]:
    """Name the trials whose end nobody recorded."""
    over = {trial.trial for trial in evidence.trials}
    return [
        f"trial {number} began and left no trial.json" for number in sorted(evidence.begun - over)
    ]


CHECK = CheckPair(TrialsCheck, count)
