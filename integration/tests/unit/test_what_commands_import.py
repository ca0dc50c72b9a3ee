"""What a command imports: no more than it needs, as each one waits for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

#: What a command can do without, by what it would take to import.
SCENARIOS = "metta_sandbox.scenario.model"
ENGINE = "python_on_whales"
PAGE = "metta_sandbox.report.page"
PLAY = "metta_sandbox.play.run"
YAML = "ruamel.yaml"
TRAINING = ("torch", "numpy", "sklearn", "wandb", "optuna", "requests")
BASIC = Path(__file__).parents[3] / "scenarios" / "basic.yaml"


@pytest.mark.parametrize(
    ("words", "without"),
    [
        (["--version"], [SCENARIOS, ENGINE, PAGE, PLAY, YAML, "rich.console"]),
        (["--help"], [SCENARIOS, ENGINE, PAGE, PLAY, YAML]),
        (["status"], [SCENARIOS, ENGINE, PAGE, PLAY, YAML]),
        (["logs"], [SCENARIOS, ENGINE, PAGE, PLAY, YAML]),
        (["schema"], [ENGINE, PAGE, PLAY]),
        (["validate", str(BASIC)], [ENGINE, PAGE, PLAY]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_a_command_imports_no_more_than_it_needs(
    words: list[str], without: list[str], tmp_path: Path
) -> None:
    code = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print(sorted({{*{[*without, *TRAINING]}}} & set(sys.modules))))\n"
        f"sys.argv = ['metta-sandbox', *{words}]\n"
        "import runpy; runpy.run_module('metta_sandbox', run_name='__main__')\n"
    )
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
