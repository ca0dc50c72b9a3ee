"""Where a trainer's packages come from on machines that are not Linux."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from metta_sandbox.image.requirements import RequiredPackage
from metta_sandbox.stack.engines.process import trainer_python as module


def test_elsewhere_pip_fetches_by_itself_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def run(command: list[str]) -> str:
        asked.append(command)
        if "-c" in command:
            return json.dumps({"python": "3.11", "packages": ["Name: numpy\nVersion: 2.3\n", ""]})
        if command[-1].startswith(str(tmp_path)):
            Path(command[-1]).mkdir()
        return ""

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "find_pip", lambda: ["pip"])
    monkeypatch.setattr(module, "run_step", run)
    required = (RequiredPackage("einops>=0.8", Path("x.yaml"), 1),)

    first, second = (
        module.ensure_trainer_bin("python", required, print, gpu=False) for _ in range(2)
    )

    assert first == second
    installs = [command for command in asked if "install" in command]
    assert [command[-3:] for command in installs] == [["install", "--quiet", "einops>=0.8"]]
    assert sum("--scripts" in command for command in asked) == 1
