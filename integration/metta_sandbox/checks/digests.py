"""Parameters are equal on all ranks when a trial ends: DDP did its work."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from metta_sandbox.checks.evidence import Evidence
from metta_sandbox.checks.judgement import Judgement, judge

_SHA_256 = re.compile(r"[0-9a-f]{64}")


def check(evidence: Evidence) -> Judgement:
    """Compare the digests of all ranks, in events and in files, for each completed trial."""
    if not evidence.completed:
        return judge(["no trial completed, so no rank's parameters can be compared"], "")
    problems = [problem for trial in evidence.completed for problem in _of_run(evidence, trial.run)]
    ranks = evidence.scenario.nodes
    return judge(problems, f"equal on {ranks} ranks in {len(evidence.completed)} trials")


def _of_run(evidence: Evidence, run: str) -> Iterator[str]:
    told: dict[int, set[str]] = {}
    for event in evidence.of("train.finished", run):
        if isinstance(rank := event.get("rank"), int):
            told.setdefault(rank, set()).add(str(event.get("digest")))
    written = {rank: {digest} for rank, digest in evidence.digests(run).items()}
    sources = (("train.finished", told), (f"trials/{run}/rank-*.digest", written))
    expected = set(range(evidence.scenario.nodes))
    for source, found in sources:
        if found.keys() != expected:
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
