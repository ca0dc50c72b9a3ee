"""The live view of a real run, on a terminal of its own."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

HIDE, SHOW = b"\x1b[?25l", b"\x1b[?25h"


def test_ctrl_c_takes_the_view_away_and_gives_the_cursor_back(tmp_path: Path) -> None:
    scenario = tmp_path / "endless.yaml"
    rate = {"distribution": "log_normal", "min": 1e-4, "max": 1e-2, "mean": 3e-3}
    sweep = {"parameters": {"trainer.optimizer.learning_rate": rate}}
    YAML(typ="safe", pure=True).dump({"version": 1, "name": "endless", "sweep": sweep}, scenario)
    master, slave = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name != "CI"}
    command = [sys.executable, "-m", "metta_sandbox", "run", str(scenario), "--engine", "process"]
    process = subprocess.Popen(
        [*command, "--artifacts", str(tmp_path / "artifacts")],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**kept, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"},
        start_new_session=True,
    )
    os.close(slave)
    shown, told = b"", False
    while chunk := _read(master):
        shown += chunk
        if not told and b"joined the sweep" in shown:
            told = True
            os.killpg(process.pid, signal.SIGINT)
    os.close(master)
    assert process.wait(60) == 130
    assert shown.count(HIDE) == 1
    assert shown.rfind(SHOW) > shown.rfind(HIDE)
    last = shown[shown.rfind(SHOW) :]
    assert b"interrupted" in last
    assert b"artifacts in" in last
    (page,) = tmp_path.glob("artifacts/2*/report.html")
    assert "Interrupted." in page.read_text()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # nobody has the other end any more
        return b""
