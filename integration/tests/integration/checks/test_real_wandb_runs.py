"""What W&B itself writes offline, read back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from metta_sandbox.wandb_file import read_run

SCRIPT = """
import os, signal, wandb
run = wandb.init(
    project="arena", entity="us", id="s.r.1", name="s.r.1", group="s",
    config={"trainer.optimizer.learning_rate": 0.25, "trainer": {"ppo": {"gamma": 0.9}}, "l": [1]},
)
for step in range(1000):
    run.log({"reward": step / 4, "nested": {"loss": -step}})
run.summary["score"] = 1.5
run.config.update({"late": "x" * 100_000})
print("logged", flush=True)
if os.environ["END"] == "kill":
    import sys
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGKILL)
run.finish(exit_code=int(os.environ["END"]))
"""


def written(folder: Path) -> bool:
    files = folder.glob("wandb/offline-run-*/run-s.r.1.wandb")
    return any(read_run(folder, file).history for file in files)


@pytest.fixture(params=["0", "3", "kill"])
def ended(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    environment = {**os.environ, "END": request.param, "WANDB_MODE": "offline", "WANDB_SILENT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env={**environment, "WANDB_DIR": str(tmp_path), "HOME": str(tmp_path)},
        input="\n",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "logged" in done.stdout, done.stderr
    # W&B writes in a process of its own, which may still be at it when its client was killed.
    deadline = time.monotonic() + 60
    while not written(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    (file,) = tmp_path.glob("wandb/offline-run-*/run-s.r.1.wandb")
    return file, request.param


def test_a_run_is_read_back_as_it_was_logged(ended: tuple[Path, str]) -> None:
    file, end = ended

    run = read_run(file.parent, file)

    assert (run.id, run.name, run.group) == ("s.r.1", "s.r.1", "s")
    assert (run.project, run.entity) == ("arena", "us")
    assert run.host == os.uname().nodename
    config: dict[str, Any] = dict(run.config)
    if end == "kill":
        # What W&B's own service had not written yet is lost; the rest must be right.
        assert run.exit_code is None
        assert 0 < len(run.history) <= 1000
    else:
        assert config.pop("late") == "x" * 100_000
        assert run.exit_code == int(end)
        assert not run.truncated
        assert len(run.history) == 1000
        assert run.summary["score"] == 1.5
        assert run.summary["reward"] == 999 / 4
    config.pop("late", None)
    assert config == {
        "trainer.optimizer.learning_rate": 0.25,
        "trainer": {"ppo": {"gamma": 0.9}},
        "l": [1],
    }
    for step, row in enumerate(run.history):
        assert (row["_step"], row["reward"], row["nested"]) == (step, step / 4, {"loss": -step})
