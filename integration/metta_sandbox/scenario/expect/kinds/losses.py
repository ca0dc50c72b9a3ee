"""Whether all ranks had the same loss, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from metta_sandbox.scenario.expect.bounds import OF, Tolerance, Which, near, whose
from metta_sandbox.scenario.expect.judgement import Finding, Judgement, unclear, unlike
from metta_sandbox.scenario.expect.kind import CheckKind, CheckPair
from metta_sandbox.scenario.expect.selection import across, chosen, title
from metta_sandbox.words import many

if TYPE_CHECKING:
    from metta_sandbox.checks.evidence import Evidence, TrialRecord

_WHERE = "timeline.jsonl"


class LossesCheck(CheckKind):
    """The losses that ranks tell in ``train.step``, which must be equal step by step."""

    key = "losses"
    about = "All ranks tell the same loss at each step."
    example = "losses: {of: all, within: 1%}"

    of: Which = Field(default="all", description=OF)
    field: str = Field(
        default="loss", min_length=1, description="The field of `train.step` that has the loss."
    )
    within: Tolerance = Field(
        default=0.0, description="How far a rank's may be from the first one's: `1%`, or a number."
    )

    @property
    def wanted(self) -> str:
        """What of the losses must hold."""
        close = f" within {self.within}" if self.within else ""
        return f"{self.field} equal on all ranks at each step{close}"

    def __str__(self) -> str:
        return f"losses of {whose(self.of)}: {self.wanted}"


def check(expected: LossesCheck, evidence: Evidence) -> Judgement:
    """Compare the ranks' losses at each step of the trials that completed."""
    picked = chosen(evidence, expected.of, evidence.completed)
    told = {trial.run: _told(expected, evidence, trial.run) for trial in picked}
    if silent := [title(trial) for trial in picked if not told[trial.run]]:
        return unclear(f"no rank told a {expected.field} in {', '.join(silent)}", _WHERE)

    def look(trial: TrialRecord) -> Iterator[Finding]:
        for step, losses in sorted(told[trial.run].items()):
            about = f"{title(trial)}: step {step}"
            if missing := [rank for rank in range(evidence.scenario.ranks) if rank not in losses]:
                ranks = ", ".join(map(str, missing))
                yield unlike(about, f"a {expected.field} of each rank", f"none of {ranks}", _WHERE)
            first = losses[min(losses)]
            if not all(near(loss, first, expected.within) for loss in losses.values()):
                seen = ", ".join(f"{loss!r} on rank {rank}" for rank, loss in losses.items())
                yield unlike(about, f"the same {expected.field} on all ranks", seen, _WHERE)

    def tell(trial: TrialRecord) -> Finding:
        ranks = many(evidence.scenario.ranks, "rank")
        steps = many(len(told[trial.run]), "step")
        return Finding(f"equal on {ranks} at {steps} of {title(trial)}", _WHERE)

    return across(evidence, expected.of, evidence.completed, look, tell)


def _told(expected: LossesCheck, evidence: Evidence, run: str) -> dict[int, dict[int, float]]:
    """Give by step, and by rank, what was told."""
    found: dict[int, dict[int, float]] = {}
    for event in evidence.of("train.step", run):
        step, rank, loss = (event.fields.get(key) for key in ("step", "rank", expected.field))
        if isinstance(step, int) and isinstance(rank, int) and isinstance(loss, (int, float)):
            found.setdefault(step, {})[rank] = float(loss)
    return found


CHECK = CheckPair(LossesCheck, check)
