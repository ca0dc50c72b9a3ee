"""What a scenario expects and can never have, or most likely won't."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from metta_sandbox.scenario.base import Fault
from metta_sandbox.scenario.expect import Bounds, Events, Exits, Item, RunNames, Trials, Wandb
from metta_sandbox.scenario.expect.records import EVENTS
from metta_sandbox.scenario.overrides import nearest
from metta_sandbox.scenario.search import Sweep
from metta_sandbox.scenario.workload import Workload
from metta_sandbox.words import many


def impossible(
    expect: Sequence[Item], nodes: int, workload: Workload, sweep: Sweep
) -> Iterator[Fault]:
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
        said, start = item.said, (index, item.key)
        if isinstance(said, Exits) and said.rank is not None and said.rank >= ranks:
            yield (*start, "rank"), f"there is no rank {said.rank} among {many(ranks, 'rank')}"
        if isinstance(said, Wandb) and said.rank is not None and said.rank >= ranks:
            yield (*start, "rank"), f"there is no rank {said.rank} among {many(ranks, 'rank')}"
        if isinstance(said, Events) and not own and workload.trainer.bundled:
            for path, name in _strange(said):
                yield (*start, *path), f"nobody emits {name}{_meant(name)}"
        if own:
            continue
        if isinstance(said, Trials):
            yield from (((*start, key), text) for key, text in _too_many(said, sweep))
        runs = _runs(sweep)
        of = getattr(said, "of", None)
        if isinstance(of, int) and of > runs and sweep.resume is None:
            yield (*start, "of"), f"there are {many(runs, 'run')} at most: {_why(sweep)}"
        if isinstance(said, RunNames) and len(said.values or ()) > runs:
            yield (*start, "values"), f"there are {many(runs, 'run')} at most: {_why(sweep)}"


def no_such_rank(nodes: int, workload: Workload) -> str:
    """Say that there is no rank of the number whose score counts, or nothing."""
    trainer = workload.trainer
    ranks = nodes * (1 if trainer.launcher == "own" else trainer.ranks_per_node)
    if trainer.score is None or trainer.score.rank is None or trainer.score.rank < ranks:
        return ""
    return f"there is no rank {trainer.score.rank} among {many(ranks, 'rank')}"


def unlikely(expect: Sequence[Item]) -> Iterator[str]:
    """Name events that nobody of ours emits, so that only a trainer of the user's can."""
    for index, item in enumerate(expect):
        if isinstance(item.said, Events):
            for _, name in _strange(item.said):
                yield f"expect[{index}].events: only what you bring can emit {name}{_meant(name)}"


def _too_many(said: Trials, sweep: Sweep) -> Iterator[tuple[str, str]]:
    completed = _least(said.completed)
    if completed > sweep.trials:
        yield "completed", f"at most {sweep.trials} can complete: {_why(sweep)}"
        return
    failed = _runs(sweep) - completed
    for key, bounds in (("failed", said.failed), ("pending", said.pending)):
        if _least(bounds) > failed:
            beside = f" beside {completed} completed" if completed else ""
            yield key, f"at most {failed} can be{beside}: {_why(sweep)}"


def _least(bounds: Bounds | None) -> int:
    if bounds is None:
        return 0
    return (bounds.at_least or 0) if bounds.equals is None else bounds.equals


def _runs(sweep: Sweep) -> int:
    return sweep.trials * (1 + sweep.retries)


def _why(sweep: Sweep) -> str:
    retries = f", and sweep.retries {sweep.retries}" if sweep.retries else ""
    return f"sweep.trials is {sweep.trials}{retries}"


def _strange(said: Events) -> Iterator[tuple[tuple[str | int, ...], str]]:
    named: list[tuple[tuple[str | int, ...], str | None]] = [
        (("happens",), said.happens),
        (("never",), said.never),
        *((("in_order", index), each.event) for index, each in enumerate(said.in_order or ())),
    ]
    return ((path, name) for path, name in named if name is not None and name not in EVENTS)


def _meant(name: str) -> str:
    near = nearest(name, EVENTS)
    return f"; did you mean {near}?" if near else ""
