"""docs/trainers.md says what the model says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from metta_sandbox.scenario.loading import parse
from metta_sandbox.scenario.workload import Trainer

ROOT = Path(__file__).parents[4]
DOCS = (ROOT / "docs" / "trainers.md").read_text()


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL))
def test_every_example_is_a_scenario(block: str) -> None:
    assert parse(block, Path("docs/trainers.md")).name in block


@pytest.mark.parametrize("key", ["launcher", "overrides_style"])
def test_every_way_is_described(key: str) -> None:
    for word in Trainer.model_fields[key].annotation.__args__:  # type: ignore[union-attr]
        assert f"| `{word}` |" in DOCS, word


def test_every_file_that_is_named_is_there() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", DOCS):
        assert (ROOT / "docs" / link).exists(), link
