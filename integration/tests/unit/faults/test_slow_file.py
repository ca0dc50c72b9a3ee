"""A file that is slow to read: whoever opens it waits, and no longer once it is healed."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from metta_sandbox.errors import StackError
from metta_sandbox.scenario.faults.kinds.slow_file import SlowDownFile, SlowFileFault


@pytest.fixture
def slow(tmp_path: Path) -> SlowDownFile:
    folder = tmp_path / "trials" / "x.r.1"
    folder.mkdir(parents=True)
    (folder / "checkpoint.pt").write_bytes(b"whole")
    context: Any = SimpleNamespace(plan=SimpleNamespace(run_folder=tmp_path))
    said = SlowFileFault.model_validate({"file": "checkpoint.pt", "by": "300ms"})
    executor = SlowDownFile("f", said, context)
    executor.moment = {"run": "x.r.1"}
    return executor


def seconds(slow: SlowDownFile) -> float:
    began = time.monotonic()
    assert slow.path.read_bytes() == b"whole"
    return time.monotonic() - began


def test_whoever_opens_it_waits_until_it_is_healed(slow: SlowDownFile) -> None:
    assert slow.before().holds
    assert not slow.during().holds

    slow.inject()
    try:
        assert slow.during().holds
        assert seconds(slow) >= 0.3
    finally:
        slow.heal()
        slow.heal()

    assert slow.after().holds
    assert seconds(slow) < 0.3


def test_one_that_is_open_all_the_time_is_not_struck(
    slow: SlowDownFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metta_sandbox.scenario.faults.kinds.slow_file._CLOSING", 0.1)
    with slow.path.open("ab"), pytest.raises(StackError, match="all the time"):
        slow.inject()
    slow.heal()
