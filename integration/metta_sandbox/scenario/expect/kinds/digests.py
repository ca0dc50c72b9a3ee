"""Whether parameters are equal on all ranks when a trial ends: DDP did its work."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from metta_sandbox.scenario.expect.bounds import OF, Which, whose
from metta_sandbox.scenario.expect.judgement import Finding, Judgement, judge, unclear, unlike
from metta_sandbox.scenario.expect.kind import CheckKind, CheckPair
from metta_sandbox.scenario.expect.selection import across, chosen, none_completed, title
from metta_sandbox.verdict import Verdict
from metta_sandbox.words import many

if TYPE_CHECKING:
    from metta_sandbox.checks.evidence import Evidence, TrialRecord

_SEVERAL = 2


_SHA_256 = re.compile(r"[0-9a-f]{64}")


class DigestsCheck(CheckKind):
    """The digests of ranks' parameters at the end of a trial. A plain word is ``are``."""

    key = "digests"
    about = "Parameters are `equal` on all ranks when a trial ends, or `different`."
    example = "digests: equal"
    word = "are"

    are: Literal["equal", "different"] = Field(
        default="equal",
        description="Equal on all ranks, or different on some. `digests: different` is short for "
        "it, and takes the standing check's place.",
    )
    of: Which = Field(default="all", description=OF)

    @property
    def voids(self) -> frozenset[str]:
        """The standing check of digests, where different ones are asked for."""
        return frozenset({"digests"} if self.are == "different" else ())

    @property
    def wanted(self) -> str:
        """How the ranks' digests must compare."""
        return "equal on all ranks" if self.are == "equal" else "different on some ranks"

    def __str__(self) -> str:
        return f"digests of {whose(self.of)} are {self.wanted}"


def check(evidence: Evidence) -> Judgement:
    """Compare the digests of all ranks, in events and in files, for each completed trial."""
    if not evidence.completed:
        return none_completed(evidence, "so no rank's parameters can be compared")
    problems = [
        Finding(problem, _place(evidence, trial))
        for trial in evidence.completed
        for problem in _of_run(evidence, trial.run)
    ]
    trials = [trial for trial in evidence.completed if _expects(evidence, trial.run)]
    if not trials:
        return Judgement(Verdict.SKIPPED, "the trainer tells no digests, so nothing was compared")
    ranks = many(evidence.scenario.ranks, "rank")
    places = (place for trial in trials for place in _places(evidence, trial))
    return judge(problems, f"equal on {ranks} in {many(len(trials), 'trial')}", places)


def expect(expected: DigestsCheck, evidence: Evidence) -> Judgement:
    """Check how ranks' digests compare; a trainer that tells none leaves nothing to compare."""
    picked = chosen(evidence, expected.of, evidence.completed)
    if silent := [title(trial) for trial in picked if not _expects(evidence, trial.run)]:
        return unclear(f"the trainer told no digests in {', '.join(silent)}", "timeline.jsonl")

    def look(trial: TrialRecord) -> Iterator[Finding]:
        problems = list(_of_run(evidence, trial.run))
        if expected.are == "equal":
            yield from (Finding(problem, _place(evidence, trial)) for problem in problems)
        elif len(digests := set(_all(evidence, trial.run).values())) < _SEVERAL:
            seen = f"one, {next(iter(digests), 'none')[:12]}…"
            yield unlike(title(trial), "different digests", seen, _place(evidence, trial))

    def tell(trial: TrialRecord) -> Finding:
        told = _all(evidence, trial.run)
        shown = ", ".join(sorted({f"{digest[:12]}…" for digest in told.values()}))
        return Finding(
            f"{shown} on {many(len(told), 'rank')} of {title(trial)}", _place(evidence, trial)
        )

    return across(evidence, expected.of, evidence.completed, look, tell)


def _place(evidence: Evidence, trial: TrialRecord) -> str:
    return _places(evidence, trial)[0]


def _places(evidence: Evidence, trial: TrialRecord) -> list[str]:
    """Name the files that hold a trial's digests; where there are none, events do."""
    folder = evidence.folder / "trials" / trial.run
    files = [folder / f"rank-{rank}.digest" for rank in sorted(evidence.digests(trial.run))]
    return [evidence.where(file) for file in files] or ["timeline.jsonl"]


def _all(evidence: Evidence, run: str) -> dict[int, str]:
    told = {
        event.get("rank"): str(event.get("digest"))
        for event in evidence.of("train.finished", run)
        if isinstance(event.get("rank"), int) and event.get("digest")
    }
    return {**told, **evidence.digests(run)}


def _expects(evidence: Evidence, run: str) -> bool:
    """Tell whether a run's digests are compared: the bundled trainer's always, else what is there.

    A trainer of somebody's may tell them in events alone, or in files alone.
    """
    told = any(event.get("digest") for event in evidence.of("train.finished", run))
    return evidence.scenario.workload.trainer.bundled or told or bool(evidence.digests(run))


def _of_run(evidence: Evidence, run: str) -> Iterator[str]:
    bundled = evidence.scenario.workload.trainer.bundled
    told: dict[int, set[str]] = {}
    for event in evidence.of("train.finished", run):
        if isinstance(rank := event.get("rank"), int) and (bundled or event.get("digest")):
            told.setdefault(rank, set()).add(str(event.get("digest")))
    written = {rank: {digest} for rank, digest in evidence.digests(run).items()}
    sources = (("train.finished", told), (f"trials/{run}/rank-*.digest", written))
    expected = set(range(evidence.scenario.ranks))
    for source, found in sources:
        if (found or bundled) and found.keys() != expected:
            yield f"{run}: expected {source} of ranks {sorted(expected)}, saw {sorted(found)}"
    digests = {
        (source, rank, digest)
        for source, found in sources
        for rank, some in found.items()
        for digest in some
    }
    counts = Counter(digest for _, _, digest in digests)
    common = max(counts, key=counts.__getitem__, default="")
    for source, rank, digest in sorted(digests):
        if not _SHA_256.fullmatch(digest):
            yield f"{run}: {source} of rank {rank} is no SHA-256: {digest!r}"
        elif digest != common:
            yield f"{run}: {source} of rank {rank} is {digest[:12]}…, another {common[:12]}…"


CHECK = CheckPair(DigestsCheck, expect)
