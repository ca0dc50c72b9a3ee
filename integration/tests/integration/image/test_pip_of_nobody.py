"""Tests do not depend on what people have configured for pip."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_TESTED = Path(__file__).with_name("test_wheelhouse_pip.py")
_CUDA = "test_cuda_alone_is_refused_with_the_mend"


def test_only_where_packages_are_is_left_of_this_machines_configuration() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    settings = {line.partition("=")[0] for line in told.stdout.splitlines()}
    assert all(each.startswith(":env:.") for each in settings), settings
    assert not [each for each in settings if "constraint" in each]


@pytest.mark.parametrize("by_file", [True, False])
def test_tests_pass_beside_somebodys_constraint(tmp_path: Path, by_file: bool) -> None:
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("torch<=1\nleaf>=7\n")
    env = {name: value for name, value in os.environ.items() if name != "PIP_CONFIG_FILE"}
    if by_file:
        config = tmp_path / "pip" / "pip.conf"
        config.parent.mkdir()
        config.write_text(f"[global]\nconstraint = {constraints}\nonly-binary = :none:\n")
        env["XDG_CONFIG_HOME"] = str(tmp_path)
    else:
        env["PIP_CONSTRAINT"] = str(constraints)
    command: list[str | Path] = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-k", _CUDA, _TESTED]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
