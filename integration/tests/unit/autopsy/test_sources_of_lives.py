"""The lines of stacks that the interpreter itself wrote, read from the run's own folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from metta_sandbox.autopsy.lives import read_lives
from metta_sandbox.node.agent.told import FOLDER
from metta_sandbox.stack.engines.base import RUN_FOLDER


def _told(run: Path, *files: str) -> tuple[str, ...]:
    """Have a process be told to end at line 2 of files, and give the lines that are known."""
    folder = run / FOLDER / "sweep-worker"
    folder.mkdir(parents=True)
    start = json.dumps({"at": 1.5, "start": {"pid": 7}}).replace('"at": ', '"at":', 1)
    calls = "".join(f'  File "{file}", line 2 in main\n' for file in files)
    stack = f"Current thread 0x01 (most recent call first):\n{calls}"
    (folder / "7.jsonl").write_text(f"{start}\n{stack}")
    (life,) = read_lives(run, "sweep-worker")
    return tuple(one.source for one in life.terminated)


@pytest.mark.parametrize("in_container", [True, False])
def test_a_line_of_the_workload_is_told(tmp_path: Path, *, in_container: bool) -> None:
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "train.py").write_text("import time\n    time.sleep(9)\n")
    root = RUN_FOLDER if in_container else str(tmp_path)
    assert _told(tmp_path, f"{root}/workspace/train.py", "/usr/lib/x.py") == ("time.sleep(9)", "")


def test_no_line_of_anything_else_is_told(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "secret").write_text("one\ntoken\n")
    (run / "link.py").symlink_to(tmp_path / "secret")
    os.mkfifo(run / "pipe.py")
    (run / "huge.py").write_bytes(b"\n" * (1 << 20))
    names = ("../secret", "link.py", "pipe.py", "huge.py", "gone.py", "link.py/x")
    files = [f"{run}/{name}" for name in names]
    assert _told(run, *files, str(tmp_path / "secret")) == ("",) * 7
