"""Trials whose ranks did, or did not, meet, on real nodes that are local processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from metta_sandbox.report import results

NEVER = "print('no GPU, nothing to do')\n"
ALONE = """\
import torch.distributed as dist
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
dist.barrier()
"""
TOGETHER = """\
import torch.distributed as dist
dist.init_process_group("gloo")
dist.barrier()
dist.destroy_process_group()
"""
SCENARIO = """\
version: 1
name: {name}
sweep: {{trials: 1}}
workload:
  folder: code
  trainer: {{command: python {name}.py, launcher: {launcher}, score: {{source: none}}}}
"""


@pytest.mark.parametrize("launcher", ["warm", pytest.param("plain", marks=pytest.mark.slow)])
def test_it_is_told_whether_ranks_met(tmp_path: Path, launcher: str) -> None:
    (tmp_path / "code").mkdir()
    for name, code in (("never", NEVER), ("alone", ALONE), ("together", TOGETHER)):
        (tmp_path / "code" / f"{name}.py").write_text(code)
        (tmp_path / f"{name}.yaml").write_text(SCENARIO.format(name=name, launcher=launcher))
    artifacts = tmp_path / "artifacts"
    command = [sys.executable, "-m", "metta_sandbox", "run", str(tmp_path), "--quiet"]
    done = subprocess.run(
        [*command, "--engine", "process", "--artifacts", str(artifacts)],
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        check=False,
        timeout=550,
    )
    found = {
        one.name: next(check for check in one.checks if check.name == "world size")
        for one in results.read(artifacts / "latest").scenarios
    }
    shown = {name: (check.verdict.value, bool(check.warning)) for name, check in found.items()}
    assert shown == {
        "alone": ("failed", False),
        "never": ("passed", True),
        "together": ("passed", False),
    }, done.stdout
    assert "process group of rank 1 on sweep-worker: expected 2 ranks, saw 1" in done.stdout
    assert "warning: no rank of trial 1 (never.r.1) formed a process group" in done.stdout
    assert "together" not in done.stdout
