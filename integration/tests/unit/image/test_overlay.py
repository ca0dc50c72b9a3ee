"""An environment over another's: its own packages first, and all commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from metta_sandbox.image import overlay


def run(*words: str | Path) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_its_packages_come_first_and_the_others_commands_run_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "over"
    run(sys.executable, overlay.__file__, folder)
    packages = next(folder.glob("lib/python3*/site-packages"))
    (packages / "pydantic.py").write_text("mine = True")
    (folder / "bin" / "ruff").write_text("mine")
    run(sys.executable, overlay.__file__, folder, "--scripts")

    python = folder / "bin" / "python"
    assert (
        run(python, "-c", "import pydantic, pytest, metta_sandbox; print(pydantic.mine)") == "True"
    )
    # A command of the other environment sees what is in this one.
    script = folder / "bin" / "pytest"
    assert script.read_text().startswith(f"#!{python}\n")
    assert "pytest" in run(script, "--version")
    assert (folder / "bin" / "ruff").read_text() == "mine"
