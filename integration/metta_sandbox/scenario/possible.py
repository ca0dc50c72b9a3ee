"""What a scenario expects and can never have, or most likely won't."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from metta_sandbox.scenario.base import Misfit
from metta_sandbox.scenario.expect import ExpectationItem
from metta_sandbox.scenario.search import Sweep
from metta_sandbox.scenario.workload import Workload
from metta_sandbox.words import many


def impossible(
    expect: Sequence[ExpectationItem], nodes: int, workload: Workload, sweep: Sweep
) -> Iterator[Misfit]:
    """Find what nodes, trials and ranks of a scenario can't give.

    Args:
        expect: Its expectations; what is wrong has the keys from there.
        nodes: How many it has.
        workload: What runs on them. A command of the user's has no trials that we know.
        sweep: How many trials there are, and how often each is tried again.

    """
    own = workload.run is not None
    ranks = nodes if own else nodes * workload.trainer.ranks_per_node
    for index, item in enumerate(expect):
        start = (index, item.key)
        for path, text in item.said.impossible(ranks, workload, sweep):
            yield (*start, *path), text
        of = getattr(item.said, "of", None)
        if isinstance(of, int) and of > sweep.runs and sweep.resume is None and not own:
            text = f"there are {many(sweep.runs, 'run')} at most: {sweep.why_so_many}"
            yield (*start, "of"), text


def no_such_rank(nodes: int, workload: Workload) -> str:
    """Say that there is no rank of the number whose score counts, or nothing."""
    trainer = workload.trainer
    ranks = nodes * (1 if trainer.launcher == "own" else trainer.ranks_per_node)
    if trainer.score is None or trainer.score.rank is None or trainer.score.rank < ranks:
        return ""
    return f"there is no rank {trainer.score.rank} among {many(ranks, 'rank')}"


def unlikely(expect: Sequence[ExpectationItem]) -> Iterator[str]:
    """Tell of what most likely won't be."""
    for index, item in enumerate(expect):
        for text in item.said.unlikely():
            yield f"expect[{index}].{item.key}: {text}"
