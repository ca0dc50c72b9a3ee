"""Another scenario of the run did the same: suggestions, overrides, losses, scores, digests."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from metta_sandbox.errors import InputError
from metta_sandbox.scenario.expect.bounds import Tolerance, near
from metta_sandbox.scenario.expect.judgement import (
    Finding,
    Judgement,
    differences,
    judge,
    unclear,
    unlike,
)
from metta_sandbox.scenario.expect.kind import CheckKind, CheckPair
from metta_sandbox.scenario.expect.kinds.wandb import run_id
from metta_sandbox.scenario.expect.selection import record, title
from metta_sandbox.words import many

if TYPE_CHECKING:
    from metta_sandbox.checks.evidence import Evidence, TrialRecord


class SameAsCheck(CheckKind):
    """Another scenario of the run, played before, whose trials are the same."""

    key = "same_as"
    about = "Another scenario with the same seed did the same."
    example = "same_as: basic"
    word = "scenario"

    scenario: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]*$",
        description="Its name; of a matrix's cell, its folder's. It is one of the same run, played "
        "before: a folder's files are played in the order of their names. `same_as: "
        "basic` is short for it.",
    )
    within: Tolerance = Field(
        default=0.0, description="How far losses and scores may be apart: `1%`, or a number."
    )
    digests: bool = Field(default=True, description="Whether parameters' digests are the same too.")
    of: Literal["all", "completed"] = Field(
        default="all",
        description="Which trials of both are compared, one by one: all, or those that completed. "
        "A sweep that lost a trial and tried it again can have completed the same.",
    )

    @property
    def wanted(self) -> str:
        """What must be the same as in the other scenario."""
        more = ", digests" if self.digests else ""
        close = "" if not self.within else f", losses within {self.within}"
        return f"suggestions, overrides, losses, scores{more} as {self.scenario}{close}"

    @property
    def compared_with(self) -> str:
        """The other scenario's name."""
        return self.scenario

    def __str__(self) -> str:
        return f"the same {self.wanted}"


def check(expected: SameAsCheck, evidence: Evidence) -> Judgement:
    """Compare trial by trial with a scenario that was played before in the same run."""
    if expected.scenario == evidence.folder.name:
        return unclear(f"{expected.scenario} is this scenario itself")
    try:
        other = evidence.of_scenario(expected.scenario)
    except InputError:
        return unclear(f"{expected.scenario} was not played before this one in the same run")
    if other.scenario.seed != evidence.scenario.seed:
        seeds = f"seed {other.scenario.seed} there, {evidence.scenario.seed} here"
        return unclear(f"nothing to compare with {expected.scenario}: {seeds}")
    if not other.completed or not evidence.completed:
        who = expected.scenario if not other.completed else "this scenario"
        return unclear(f"no trial of {who} completed, so there are no losses to compare")
    problems: list[Finding] = []
    ours, others = _of(expected, evidence), _of(expected, other)
    if len(others) != len(ours):
        there = f"{len(others)}, as {expected.scenario} had"
        problems.append(unlike("trials", there, str(len(ours)), "trials"))
    compared = 0
    for mine, theirs in zip(ours, others, strict=False):
        found, losses = _compare(expected, (evidence, mine), (other, theirs))
        problems += found
        compared += losses
    held = f"{many(len(ours), 'trial')} the same, {many(compared, 'loss value')} compared"
    return judge(problems, held, (evidence.where(record(evidence, one)) for one in ours))


def _of(expected: SameAsCheck, evidence: Evidence) -> Sequence[TrialRecord]:
    return evidence.completed if expected.of == "completed" else evidence.trials


def _compare(
    expected: SameAsCheck, mine: tuple[Evidence, TrialRecord], theirs: tuple[Evidence, TrialRecord]
) -> tuple[list[Finding], int]:
    """Compare two trials; give what differs, and how many losses were compared."""
    (here, one), (there, other) = mine, theirs
    place = here.where(record(here, one))
    found = [
        Finding(f"{title(one)}: {name} {difference}", place)
        for name, was, now in (
            ("suggestion", other.suggestion, one.suggestion),
            ("override", other.overrides, one.overrides),
            ("end", {"status": other.status}, {"status": one.status}),
        )
        for difference in differences(was, now)
    ]
    if not _close(one.score, other.score, expected.within):
        at = here.line_of(record(here, one), '"score"')
        found.append(unlike(f"{title(one)}: score", _shown(other.score), _shown(one.score), at))
    if expected.digests:
        was, now = there.digests(other.run), here.digests(one.run)
        words = ({f"rank {k}": v for k, v in each.items()} for each in (was, now))
        at = f"trials/{one.run}"
        found += [Finding(f"{title(one)}: digest of {each}", at) for each in differences(*words)]
    was_lost, now_lost = _losses(there, other.run), _losses(here, one.run)
    for key in sorted(was_lost.keys() | now_lost.keys()):
        was_row, now_row = was_lost.get(key, []), now_lost.get(key, [])
        found += _rows(expected, f"{title(one)}: {key}", was_row, now_row, _wandb_place(here, one))
    return found, sum(map(len, now_lost.values()))


def _rows(
    expected: SameAsCheck, about: str, was: Sequence[float], now: Sequence[float], place: str
) -> Iterator[Finding]:
    """Tell the first difference of two curves."""
    for row, (old, new) in enumerate(zip_longest(was, now), 1):
        if not _close(new, old, expected.within):
            yield unlike(f"{about}, row {row}", _shown(old), _shown(new), place)
            return


def _losses(evidence: Evidence, run: str) -> dict[str, list[float]]:
    """Give the curves of a run's history that are losses by their name."""
    found: dict[str, list[float]] = {}
    for each in evidence.wandb_runs:
        if run_id(each) == run:
            for row in each.history:
                for key, value in row.items():
                    if "loss" in key.lower() and isinstance(value, (int, float)):
                        found.setdefault(key, []).append(float(value))
    return found


def _wandb_place(evidence: Evidence, trial: TrialRecord) -> str:
    places = (evidence.where(run.path) for run in evidence.wandb_runs if run_id(run) == trial.run)
    return next(places, "wandb")


def _close(one: float | None, other: float | None, within: float | str) -> bool:
    if one is None or other is None:
        return one is other
    return near(one, other, within) or (math.isnan(one) and math.isnan(other))


def _shown(number: float | None) -> str:
    return "none" if number is None else repr(number)


CHECK = CheckPair(SameAsCheck, check)
