"""Local processes have an environment each: quickly made, over the nodes' own, and apart."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from metta_sandbox.node.agent.own_environment import FOLDER, INDEX_VARIABLES
from metta_sandbox.stack.engines.process.own_environment import ensure_model
from metta_sandbox.stack.package_index import index_environment


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_commands_run_in_the_environment_of_whichever_node_calls_them(tmp_path: Path) -> None:
    model = ensure_model(sys.executable)
    assert ensure_model(sys.executable) == model
    homes = [tmp_path / "one", tmp_path / "two"]
    for home in homes:
        model.make(home / FOLDER)
        (packages,) = (home / FOLDER).glob("lib/python3*/site-packages")
        (packages / "whose.py").write_text(f"HOME = {home.name!r}\n")

    for home in homes:
        script = "import pytest, sys, whose; print(sys.prefix, whose.HOME)"
        python = str(home / FOLDER / "bin" / "python")
        done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.split() == [str(home / FOLDER), home.name]
        pip = [str(model.commands / "pip"), "list", "--local", "--format=json"]
        listed = subprocess.run(
            pip, env={"HOME": str(home), "PATH": "/bin"}, capture_output=True, check=True
        )
        assert listed.stdout.strip() == b"[]"


def test_pip_and_uv_ask_the_stacks_index_alone() -> None:
    variables = index_environment("dummy-api", 8082)
    address = "http://dummy-api:8082/simple"
    assert variables["PIP_INDEX_URL"] == variables["UV_DEFAULT_INDEX"] == address
    assert index_environment("dummy-api", None) == {}
    # Trainers are given what the rollout was.
    assert set(variables) == set(INDEX_VARIABLES)
