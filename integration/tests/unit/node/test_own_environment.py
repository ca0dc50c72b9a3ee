"""The environment that a workload installs into counts as soon as something is installed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from metta_sandbox.node.agent.fork_server.spawn import at_start
from metta_sandbox.node.agent.own_environment import bin_folder, path_of_use, path_without
from metta_sandbox.node.trial import TrialPlan
from metta_sandbox.scenario.workload import Workload


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Make a node's home with an environment; gives its variables."""
    packages = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "behind.pth").touch()
    path = os.pathsep.join([bin_folder(str(tmp_path)), "/opt/bin", "/bin"])
    return {"HOME": str(tmp_path), "PATH": path}


def test_while_it_is_empty_the_interpreter_behind_it_is_taken(environ: dict[str, str]) -> None:
    assert path_of_use(environ) == path_without(environ) == "/opt/bin:/bin"


def test_once_something_is_installed_its_own_is(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "venv" / "lib" / "python3.11" / "site-packages" / "einops").mkdir()
    assert path_of_use(environ) == environ["PATH"]


def test_a_node_without_one_is_as_ever() -> None:
    assert path_of_use({"HOME": "/nowhere", "PATH": "/opt/bin:/bin"}) == "/opt/bin:/bin"


def test_nodes_that_differ_in_it_alone_start_alike(environ: dict[str, str]) -> None:
    other = {"HOME": "/other", "PATH": f"{bin_folder('/other')}:/opt/bin:/bin"}
    assert at_start(environ) == at_start(other) == {"PATH": "/opt/bin:/bin"}


def test_a_trainer_may_install_as_its_rollout_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://index/simple")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://index/simple")
    workload = Workload.model_validate({"env": {"UV_DEFAULT_INDEX": "http://mine"}})
    env = TrialPlan(workload, 1, "macbook").env

    assert env["PIP_INDEX_URL"] == "http://index/simple"
    assert env["UV_DEFAULT_INDEX"] == "http://mine"
