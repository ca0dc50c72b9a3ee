"""Scenario files as tests, for real: two workers of pytest-xdist, local processes as nodes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from metta_sandbox.report import results

SCENARIO = """\
version: 1
name: two
tags: [smoke]
matrix: {nodes: [1, 2]}
workload:
  run: echo "rank $SKYPILOT_NODE_RANK of $SKYPILOT_NUM_NODES"
expect:
  - log: {contains: 'rank 0 of 2', on: sweep-master}
"""


def test_workers_play_side_by_side_each_in_a_run_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text(SCENARIO)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\naddopts = -p no:importnb --strict-markers\nfilterwarnings = error\n"
    )
    kept = {name: value for name, value in os.environ.items() if name != "CI"}
    words = ["-n", "2", "--dist", "load", "--sandbox-engine", "process", "-v"]

    said = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=tmp_path,
        env={**kept, "XDG_STATE_HOME": str(tmp_path / "state"), "GITHUB_ACTIONS": "true"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert said.returncode == 1, said.stdout + said.stderr
    assert "PASSED two.yaml::two[nodes=2]" in said.stdout
    assert "FAILED two.yaml::two[nodes=1] - failed: " in said.stdout
    assert "::error file=two.yaml,line=8," in said.stdout
    runs = [results.read(folder) for folder in (tmp_path / "artifacts").glob("2*")]
    assert sorted(one.verdict for run in runs for one in run.scenarios) == ["failed", "passed"]
    assert len(runs) == 2, said.stdout
    for run in runs:
        assert f"Artifacts in artifacts/{run.run}" in said.stdout
    assert not list((tmp_path / "state").rglob("*.json")), "no lease is left"
