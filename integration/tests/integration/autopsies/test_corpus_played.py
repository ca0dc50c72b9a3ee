"""Known faults that local processes can have, made to happen, and what is said of them.

One of each kind is played each time, and each night all of them, at several places of a sweep.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from autopsies.corpus import Known, corpus, once_each
from autopsies.playing import play
from autopsies.score import by_kind, each


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("faults", "at_least", "leeway"),
    [
        pytest.param(once_each(), 15, 4, id="one of each kind"),
        pytest.param(corpus(), 50, 10, id="all", marks=pytest.mark.slow),
    ],
)
def test_what_happened_first_and_on_which_rank_is_named(
    tmp_path: Path, faults: Sequence[Known], at_least: int, leeway: int
) -> None:
    """Play them; so many may not come out right, on machines so slow that they seem to hang."""
    scores = play(faults, "process", tmp_path)

    console = Console(width=200, record=True)
    console.print(each(scores), by_kind(scores))
    told = console.export_text()
    assert len(scores) >= at_least, told
    least = len(scores) - leeway
    for what in ("proven", "cause_right", "rank_right"):
        right = sum(getattr(one, what) for one in scores)
        assert right >= least, f"{what}: {right} of {len(scores)}, fewer than {least}\n{told}"
