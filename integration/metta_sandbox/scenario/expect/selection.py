"""Which trials an expectation is about, and what comes of looking at each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metta_sandbox.scenario.expect.judgement import Finding, Judgement, judge
from metta_sandbox.verdict import Verdict
from metta_sandbox.words import many

if TYPE_CHECKING:
    from metta_sandbox.checks.evidence import Evidence, TrialRecord

#: Gives what is wrong with a trial.
Look = Callable[["TrialRecord"], Iterable[Finding]]
#: Says what was seen of a trial that is as it must be, and where.
Tell = Callable[["TrialRecord"], Finding]
_MOST_TOLD = 5


def title(trial: TrialRecord) -> str:
    """Name a trial for people."""
    return f"trial {trial.trial} ({trial.run})"


def record(evidence: Evidence, trial: TrialRecord) -> Path:
    """Give the file that says how a trial came out."""
    return evidence.folder / "trials" / trial.run / "trial.json"


def best(evidence: Evidence, among: Sequence[TrialRecord]) -> tuple[TrialRecord, ...]:
    """Give the trial with the best score by the sweep's goal, if any has one."""
    scored = [trial for trial in among if trial.score is not None]
    sign = 1 if evidence.scenario.sweep.goal == "maximize" else -1
    return tuple(sorted(scored, key=lambda one: sign * (one.score or 0.0), reverse=True)[:1])


def none_completed(evidence: Evidence, so: str) -> Judgement:
    """Judge that no trial completed: of a sweep that broke off, that says nothing.

    Args:
        evidence: What was left.
        so: What follows from it.

    """
    told = f"no trial completed, {so}"
    if evidence.ending == "finished":
        return judge([told], "")
    return Judgement(Verdict.SKIPPED, told)


def chosen(
    evidence: Evidence, of: str | int, among: Sequence[TrialRecord]
) -> tuple[TrialRecord, ...]:
    """Pick the trials that are meant."""
    if isinstance(of, int):
        return tuple(trial for trial in among if trial.trial == of)
    if of == "best":
        return best(evidence, among)
    picked = {"first": among[:1], "last": among[-1:]}.get(of, among)
    return tuple(picked)


def across(
    evidence: Evidence, of: str | int, among: Sequence[TrialRecord], look: Look, tell: Tell
) -> Judgement:
    """Judge each trial that is meant. Where there is none, nothing holds.

    Args:
        evidence: What was left.
        of: Which trials; with ``any``, one that is as it must be is enough.
        among: Those that could be meant, by number.
        look: Finds what is wrong with one.
        tell: Says what was seen of one that is as it must be.

    """
    picked = chosen(evidence, of, among)
    if not picked:
        which = f"trial {of}" if isinstance(of, int) else "such a trial"
        there = many(len(among), "trial")
        return judge([Finding(f"expected {which}, saw none: {there} to look at")], "")
    found = {trial.trial: list(look(trial)) for trial in picked}
    good = [trial for trial in picked if not found[trial.trial]]
    if len(good) < len(picked) and not (of == "any" and good):
        return judge([each for findings in found.values() for each in findings], "")
    told = [tell(trial) for trial in good]
    shown = [each.text for each in told[:_MOST_TOLD]]
    if len(told) > _MOST_TOLD:
        shown.append(f"and {len(told) - _MOST_TOLD} more")
    return judge([], "; ".join(shown), (each.where for each in told))
