"""Some ways of going wrong that no fault makes, by chance, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from autopsies.cells import sampled
from autopsies.judged import misses
from autopsies.playing import play_cells
from autopsies.ways import WAYS

#: One under each of six launchers, the same ones each time.
_LAUNCHERS = ("warm", "plain", "torchrun", "own", "run", "run-shell")
_SEED = 12
#: How many may not come out right, on machines that are so slow that they look as if they hung.
_LEEWAY = 3


@pytest.mark.timeout(1800)
def test_ways_of_going_wrong_happen_and_are_told(tmp_path: Path) -> None:
    cells = sampled(WAYS, _LAUNCHERS, ["process"], 1, _SEED)

    judged = play_cells(cells, tmp_path, tmp_path / "cells.jsonl")

    told = misses(judged)
    assert len(judged) == len(cells) == 6, told
    assert sum(one.happened for one in judged) >= len(cells) - 1, told
    assert sum(one.right for one in judged) >= len(cells) - _LEEWAY, told
