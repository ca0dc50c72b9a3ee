"""Removing what runs left behind whose owner is gone."""

from __future__ import annotations

from collections.abc import Sequence

from metta_sandbox.errors import StackError
from metta_sandbox.progress import Progress
from metta_sandbox.stack.engines import find_all, remove_everywhere
from metta_sandbox.stack.engines.base import Engine
from metta_sandbox.stack.lease import leased_engine, reap
from metta_sandbox.stack.lost import DoubtfulRun, look


def clean(engines: Sequence[Engine], tell: Progress) -> tuple[list[str], list[DoubtfulRun]]:
    """Remove what runs left behind whose owner is gone.

    Args:
        engines: Those that are asked what they have. The dead may have been played on others.
        tell: Gets a line for each.

    Returns:
        The ids of those runs; and what may have been left behind, but nobody here can tell.

    Raises:
        StackError: Something could not be removed; the rest was.

    """

    def remove(run: str) -> None:
        remove_everywhere(engines, run, leased_engine(run))
        tell(f"removed what the run {run} left behind")

    failed: StackError | None = None
    removed: list[str] = []
    try:
        removed += reap(remove)
    except StackError as error:
        failed = error
    gone, doubtful = look(engines)
    for run in gone:
        try:
            remove(run)
        except StackError as error:
            failed = failed or error
        else:
            removed.append(run)
    if failed is not None:
        raise failed
    return removed, doubtful


def clean_all(tell: Progress) -> None:
    """Remove what is left behind on all engines of this machine, and list what can't be told.

    Raises:
        StackError: Something could not be removed; the rest was.

    """
    # One that does not answer is told where a run is known to have been on it.
    removed, doubtful = clean(find_all(), tell)
    if not removed:
        tell("nothing was left behind")
    for one in doubtful:
        tell(f"the run {one.run} may be over or not, {one.why}; what there is of it goes with:")
        for command in one.commands:
            tell(f"  {command}")
