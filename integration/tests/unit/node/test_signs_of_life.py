"""A rollout that starts says so for as long as it works, and no longer."""

from __future__ import annotations

from itertools import chain, count, repeat

import pytest

from metta_sandbox.node.agent.startup_heartbeat import tell_signs_of_life


def test_one_that_works_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    works = count()
    tell_signs_of_life(0.01, 0.05, lambda: float(next(works))).join()
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(line.startswith("sweep: at work, ") for line in lines)


def test_one_that_waits_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    worked = chain((0.0, 1.0), repeat(1.01))
    tell_signs_of_life(0.01, 0.05, lambda: next(worked)).join()
    assert len(capsys.readouterr().err.splitlines()) == 1
