"""One of each kind of fault that local processes can have, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from autopsies.corpus import once_each
from autopsies.playing import play
from autopsies.score import by_kind, each

#: How many may not come out right, on machines that are so slow that they look as if they hung.
_LEEWAY = 4


@pytest.mark.timeout(1800)
def test_what_happened_first_and_on_which_rank_is_named(tmp_path: Path) -> None:
    scores = play(once_each(), "process", tmp_path)

    console = Console(width=200, record=True)
    console.print(each(scores), by_kind(scores))
    told = console.export_text()
    assert len(scores) >= 15, told
    least = len(scores) - _LEEWAY
    for what in ("proven", "cause_right", "rank_right"):
        right = sum(getattr(one, what) for one in scores)
        assert right >= least, f"{what}: {right} of {len(scores)}, fewer than {least}\n{told}"
