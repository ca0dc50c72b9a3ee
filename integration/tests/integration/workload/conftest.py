"""What tests of people's own workloads share: a scenario, played as a command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML


@dataclass(frozen=True)
class Done:
    """How a command ended, what it printed, and the folder of the scenario it played."""

    status: int
    text: str
    folder: Path

    def read(self, path: str) -> str:
        return (self.folder / path).read_text()


Play = Callable[..., Done]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Write a scenario and play it."""

    def play(engine: str, /, *options: str, **keys: Any) -> Done:
        scenario = {"version": 1, "name": "x", "nodes": 1, **keys}
        YAML(typ="safe", pure=True).dump(scenario, tmp_path / "x.yaml")
        artifacts = tmp_path / "artifacts"
        words = ["run", "x.yaml", "--engine", engine, "--artifacts", str(artifacts), *options]
        kept = {name: value for name, value in os.environ.items() if name != "CI"}
        done = subprocess.run(
            [sys.executable, "-m", "metta_sandbox", *words],
            env={**kept, "XDG_STATE_HOME": str(tmp_path / "state")},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=400,
        )
        return Done(done.returncode, done.stdout + done.stderr, artifacts / "latest" / "x")

    return play
