"""``validate`` and ``schema``: what they print, how they end, what they cost."""

import os
import subprocess
import sys
from pathlib import Path

from metta_sandbox.scenario.schema import schema_text

ROOT = Path(__file__).parents[4]
BASIC = ROOT / "scenarios" / "basic.yaml"


def cli(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "metta_sandbox", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environ},
    )


def test_cells_and_cautions_are_listed(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(
        "version: 1\nname: a\nvariables: {n: {default: 1, env: SANDBOX_N}}\n"
        "matrix: {nodes: ['${n}', 3], seed: [1]}\n"
    )
    done = cli("validate", str(tmp_path), "--set", "n=2")
    assert done.stdout.splitlines() == [
        f"{file}: 2 valid scenarios",
        "  a[nodes=2,seed=1]",
        "  a[nodes=3,seed=1]",
        f"{file}: expect: nothing is expected, so only a broken run can fail",
    ]
    assert done.returncode == 0
    assert "a[nodes=4,seed=1]" in cli("validate", str(tmp_path), SANDBOX_N="4").stdout


def test_what_a_file_needs_is_listed(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(
        "version: 1\nname: a\nmatrix: {nodes: [1, 2]}\nworkload: {image: mine, run: x}\n"
        "expect: [{log: {contains: x}}]\n"
    )
    done = cli("validate", str(tmp_path))
    assert f"{file}: needs containers (workload.image)" in done.stdout.splitlines()


def test_problems_are_exit_status_2_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("version: 1\nname: a\nnodse: 1\nseed: x\n")
    done = cli("validate", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"{tmp_path}/a.yaml:3:1: nodse: unknown key; did you mean nodes?",
        f"{tmp_path}/a.yaml:4:7: seed: expected a whole number, got 'x'",
        "2 problems",
    ]
    done = cli("validate", str(BASIC), "--set", "n=2")
    assert (done.returncode, "no scenario file has this variable" in done.stderr) == (2, True)


def test_what_a_file_names_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("version: 1\nname: a\nworkload: {run: x, folder: absent}\n")
    done = cli("validate", str(tmp_path))
    assert done.returncode == 2
    assert f"{tmp_path}/a.yaml:3:28: workload.folder: " in done.stderr


def test_the_schema_is_printed() -> None:
    assert cli("schema").stdout == schema_text()
