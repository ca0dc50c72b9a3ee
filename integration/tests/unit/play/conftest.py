"""What happens to a scenario is recorded in a timeline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from metta_sandbox.timeline.recording import Timeline


@pytest.fixture
def timeline(tmp_path: Path) -> Iterator[Timeline]:
    made = Timeline(tmp_path / "timeline.jsonl")
    yield made
    made.finish()
