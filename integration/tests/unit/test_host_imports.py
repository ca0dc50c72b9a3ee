"""What the host runs needs no more than the host's own dependencies."""

from __future__ import annotations

import subprocess
import sys

#: Imports all of the host's packages, where those of nodes and control planes are absent.
_IMPORT_ALL = """
import importlib, pkgutil, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
import metta_sandbox.cli
import metta_sandbox.services.wandb.records
for package in {packages!r}:
    root = importlib.import_module(f"metta_sandbox.{{package}}")
    for module in pkgutil.walk_packages(root.__path__, f"{{root.__name__}}."):
        importlib.import_module(module.name)
"""
_ABSENT = (
    *("torch", "numpy", "sklearn", "threadpoolctl", "mettagrid", "py_spy"),
    *("fastapi", "graphql", "starlette", "sweeps", "uvicorn"),
)
_PACKAGES = (
    *("autopsy", "checks", "doctor", "faults", "image", "init", "play"),
    *("report", "scenario", "stack", "timeline"),
)


def test_the_host_needs_nothing_of_nodes_and_control_planes() -> None:
    script = _IMPORT_ALL.format(absent=set(_ABSENT), packages=_PACKAGES)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
