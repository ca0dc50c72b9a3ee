"""The host's side on each Python that is promised, as far as this machine has it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[4]
#: Those that ``pyproject.toml`` names.
_PYPROJECT = (ROOT / "pyproject.toml").read_text()
PROMISED = re.findall(r"Programming Language :: Python :: (3\.\d+)", _PYPROJECT)
#: Imports all that the host runs, and nothing of nodes and control planes.
IMPORT_ALL = """
import importlib, pkgutil, sys
import metta_sandbox
for package in sys.argv[1:]:
    root = importlib.import_module(f"metta_sandbox.{package}")
    for module in pkgutil.walk_packages(root.__path__, f"{root.__name__}."):
        importlib.import_module(module.name)
"""
PACKAGES = (
    *("autopsy", "checks", "doctor", "faults", "image", "init", "play", "pytest_plugin"),
    *("report", "scenario", "stack", "timeline"),
)


def interpreter(version: str) -> str | None:
    """Find a Python that runs: on the path, or among pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which(f"python{version}"), *map(str, pyenv.glob(f"{version}.*/bin/python"))]
    for python in filter(None, found):
        # pyenv puts a script on the path for each, which fails for those not chosen.
        done = subprocess.run([python, "-c", "import ensurepip"], capture_output=True, check=False)
        if done.returncode == 0:
            return python
    return None


@pytest.fixture(scope="module", params=PROMISED)
def python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the package as a user installs it, on one of the Pythons."""
    found = interpreter(request.param)
    if found is None:
        pytest.skip(f"no Python {request.param} on this machine")
    folder = tmp_path_factory.mktemp(f"python{request.param}")
    run(found, "-m", "venv", str(folder))
    pins = str(ROOT / "compose" / "constraints.txt")
    run(
        f"{folder}/bin/pip",
        "install",
        "--quiet",
        "--constraint",
        pins,
        "--editable",
        f"{ROOT}[dev]",
    )
    return folder / "bin" / "python"


def run(*command: str, cwd: Path = ROOT) -> str:
    # With CI set nothing falls back to local processes, and no engine may be here.
    env = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.slow
def test_a_new_project_begins_and_all_scenarios_are_valid(python: Path, tmp_path: Path) -> None:
    run(str(python), "-W", "error::SyntaxWarning", "-c", IMPORT_ALL, *PACKAGES)
    sandbox = str(python.with_name("metta-sandbox"))
    assert "validate" in run(sandbox, "--help")
    run(sandbox, "init", cwd=tmp_path)
    first = run(sandbox, "validate", cwd=tmp_path)
    assert first == "scenarios/first.yaml: first is valid\n"
    assert "cookbook" in run(sandbox, "validate", "scenarios")
    assert "sweep" in run(sandbox, "launch", "--dry-run", "--", "sweep", "run=test")


@pytest.mark.slow
def test_units_of_the_host_pass(python: Path) -> None:
    tests = "integration/tests/unit"
    units = [f"{tests}/{name}" for name in ("checks", "init", "test_verdict.py", "test_words.py")]
    run(str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *units)


def test_ci_tries_each_python_that_is_promised() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert workflow["jobs"]["pythons"]["strategy"]["matrix"]["python"] == PROMISED
