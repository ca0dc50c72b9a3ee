"""Programs do what their truth says, played by plain processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from fuzz.generate import generate

_REHEARSE = """
import sys
from pathlib import Path
import torch, torch._dynamo, torch.distributed, torch.utils.data
from fuzz.generate import generate
from fuzz.rehearse import rehearse

planted = sys.argv[2] == "planted"
for seed in map(int, sys.argv[3:]):
    program = generate(seed, planted=planted)
    played = rehearse(program, Path(sys.argv[1]) / str(seed), 25)
    truth = program.truth
    if truth.deviation == "healthy" or not planted:
        assert played.completed, (seed, played)
    else:
        assert not played.completed, (seed, played)
        seen = not truth.place or -6 in played.statuses or any(map(played.shows, truth.lines))
        assert seen, (seed, truth, played)
"""


def _rehearse(folder: Path, how: str, seeds: list[int]) -> None:
    # A process of its own: what is forked should have no threads of a test runner.
    command = [sys.executable, "-W", "ignore", "-c", _REHEARSE, str(folder), how]
    command += map(str, seeds)
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_programs_complete_without_what_goes_wrong(tmp_path: Path) -> None:
    _rehearse(tmp_path, "well", list(range(10)))


def test_what_goes_wrong_goes_wrong_where_it_is_believed(tmp_path: Path) -> None:
    quick = {"raises", "exits", "killed", "other shape", "child raises", "command fails"}
    wrong = [seed for seed in range(200) if generate(seed).truth.deviation in quick]
    _rehearse(tmp_path, "planted", [*wrong[:4], 7])
