"""SkyPilot tasks, launched as they are on local processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from python_on_whales import DockerClient

from metta_sandbox.skypilot.variables import ADDITIONS

#: What a shell, Ray or SkyPilot sets, or a node's process keeps of this machine's.
_ORDINARY = {
    *("HOME", "PATH", "PWD", "OLDPWD", "SHLVL", "_", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH"),
    *("DYLD_LIBRARY_PATH", "LS_COLORS", "PYTHONUNBUFFERED", "OMP_NUM_THREADS"),
    *("CUDA_VISIBLE_DEVICES", "__CF_USER_TEXT_ENCODING"),
}


@dataclass(frozen=True)
class Launched:
    """How a launch came out."""

    status: int
    text: str
    folder: Path

    @property
    def lines(self) -> list[str]:
        """What ``sky logs`` would show, without who said it."""
        log = next(self.folder.glob("*/run.log"))
        return [line.partition(") ")[2] or line for line in log.read_text().splitlines()]


Launch = Callable[..., Launched]


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    """Write a task and launch it with these words."""

    def launch(task: str, *words: str, engine: str = "process", **env: str) -> Launched:
        (tmp_path / "task.yaml").write_text(task)
        artifacts = tmp_path / "artifacts"
        kept = {name: value for name, value in os.environ.items() if name != "CI"}
        command = [sys.executable, "-m", "metta_sandbox", "launch", "task.yaml", *words]
        done = subprocess.run(
            [*command, "--engine", engine, "--artifacts", str(artifacts)],
            cwd=tmp_path,
            env={**kept, "XDG_STATE_HOME": str(tmp_path / "state"), **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=1500,
        )
        text = done.stdout + done.stderr
        return Launched(done.returncode, text, (artifacts / "latest").resolve())

    return launch


_DDP = """\
import torch
import torch.distributed as dist

dist.init_process_group("nccl" if {pretended} else "gloo")
total = torch.ones(1)
dist.all_reduce(total)
print(f"rank {{dist.get_rank()}} sees {{total.item():.0f}} over {{dist.get_backend()}}")
dist.destroy_process_group()
"""


def test_two_nodes_meet_by_skypilots_variables(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text(_DDP.format(pretended=True))
    done = launch(
        """
name: ddp
num_nodes: 2
workdir: code
resources: {accelerators: A100:2}
setup: |
  false
  export GONE=1
  echo "export KEPT=1" >> ~/.bashrc
run: |
  echo "kept [$KEPT] gone [$GONE]"
  torchrun --nnodes="$SKYPILOT_NUM_NODES" --node_rank="$SKYPILOT_NODE_RANK" \\
    --nproc_per_node="$SKYPILOT_NUM_GPUS_PER_NODE" --master_port=8008 \\
    --master_addr="$(echo "$SKYPILOT_NODE_IPS" | head -n1)" train.py
"""
    )

    assert done.status == 0, done.text
    assert {f"rank {rank} sees 4 over gloo" for rank in range(4)} <= set(done.lines)
    assert done.lines.count("kept [1] gone []") == 2
    assert "Job finished (status: SUCCEEDED)." in done.lines
    assert "(head, rank=0, pid=" in done.text
    assert "2 A100 on each node are pretended" in done.text


def test_a_task_that_forgets_the_masters_address_fails_as_there(launch: Launch) -> None:
    done = launch(
        """
num_nodes: 2
run: |
  sleep $((SKYPILOT_NODE_RANK * 60))
  python -c "
  import torch.distributed as dist
  dist.init_process_group('gloo', rank=$SKYPILOT_NODE_RANK, world_size=2)"
"""
    )

    assert done.status == 1, done.text
    assert "environment variable MASTER_ADDR expected, but not set" in done.text
    assert "ERROR: Job 1 failed with return code list: [1, 137]" in done.text


_ENV = """
envs: {MINE: 1}
secrets: {TOKEN: null}
num_nodes: 2
setup: env | sed -n 's/^\\([A-Za-z_]*\\)=.*/setup \\1/p'
run: env | sed -n 's/^\\([A-Za-z_]*\\)=.*/run \\1/p'
"""


@pytest.mark.parametrize("bare", [False, True])
def test_nothing_is_there_but_what_is_listed(launch: Launch, bare: bool) -> None:
    done = launch(_ENV, "--secret", "TOKEN=not-for-your-eyes", *(["--bare"] if bare else []))
    ours = {one.name for one in ADDITIONS}
    seen = {
        part: {line.split()[1] for line in done.lines if line.startswith(f"{part} ")}
        for part in ("setup", "run")
    }

    assert done.status == 0, done.text
    for names in seen.values():
        assert {"MINE", "TOKEN"} <= names
        left = names - _ORDINARY - {"MINE", "TOKEN"} - (set() if bare else ours)
        assert {name for name in left if not name.startswith("SKYPILOT_")} == set()
        assert bool(names & ours) != bare
    assert "SKYPILOT_NODE_RANK" in seen["run"] - seen["setup"]
    assert "SKYPILOT_SETUP_NODE_RANK" in seen["setup"] - seen["run"]
    written = "".join(
        path.read_text(errors="replace") for path in done.folder.rglob("*") if path.is_file()
    )
    assert "not-for-your-eyes" not in done.text + written


def test_each_node_finds_what_the_task_brings_along(launch: Launch, tmp_path: Path) -> None:
    for name, text in (("code/a.py", "1"), ("code/b.log", "2"), ("data/x", "3"), ("bucket/y", "4")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "code" / ".gitignore").write_text("*.log")
    done = launch(
        """
num_nodes: 2
workdir: code
file_mounts:
  ~/data: data
  inside/one: data/x
  ~/bucket: {name: given, store: s3, mode: MOUNT}
  ~/empty: gs://another/path
run: |
  echo $(pwd | xargs basename) $(ls) $(cd; ls data sky_workdir/inside empty) $(cat ~/bucket/y)
  touch mine-$SKYPILOT_NODE_RANK ~/data/mine-$SKYPILOT_NODE_RANK ~/bucket/of-$SKYPILOT_NODE_RANK
  ls | grep -c mine-; ls ~/data | grep -c mine-
""",
        f"--bucket=s3://given={tmp_path / 'bucket'}",
    )

    assert done.status == 0, done.text
    assert "gs://another/path at ~/empty is an empty folder" in done.text
    (said,) = {line for line in done.lines if line.startswith("sky_workdir")}
    assert said == "sky_workdir a.py inside data: x empty: sky_workdir/inside: one 4"
    assert done.lines.count("1") == 4
    assert {path.name for path in (tmp_path / "bucket").iterdir()} == {"y", "of-0", "of-1"}
    assert {path.name for path in (tmp_path / "code").iterdir()} == {"a.py", "b.log", ".gitignore"}


def test_tasks_of_one_file_are_played_until_one_fails(launch: Launch) -> None:
    done = launch(
        """
name: pipeline
---
name: first
run: echo "$SKYPILOT_TASK_IDS" | grep -c "^sky-managed-.*_pipeline_"
---
name: second
run: exit 3
---
name: third
run: echo never
"""
    )

    assert done.status == 1
    assert "PASSED first" in done.text
    assert "FAILED second" in done.text
    assert "third" not in done.text


def test_setup_that_fails_ends_the_job(launch: Launch) -> None:
    done = launch("setup: exit 4\nrun: echo never\nnum_nodes: 2\n")

    assert done.status != 0
    assert "ERROR: Job 1's setup failed. Failed workers: (pid=" in done.text
    assert "never" not in done.text


def test_what_is_wrong_with_a_task_is_told_before_anything_starts(launch: Launch) -> None:
    done = launch("run: x\nnum_node: 2\n")

    assert done.status == 2
    assert "task.yaml:2:1: num_node: unknown key; did you mean num_nodes?" in done.text


def test_containers_have_mounts_anywhere(
    launch: Launch, tmp_path: Path, docker: DockerClient
) -> None:
    assert docker
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x").write_text("3")
    done = launch(
        """
num_nodes: 2
file_mounts: {/data/in: data, ~/here: data}
run: |
  cat /data/in/x ~/here/x; echo; touch /data/in/mine-$SKYPILOT_NODE_RANK; ls /data/in | wc -l
  test -z "$MASTER_ADDR$RANK$NUM_NODES$DIST_URL$NODE_INDEX$WORLD_SIZE"
""",
        engine="compose",
    )

    assert done.status == 0, done.text
    assert done.lines.count("33") == 2
    assert done.lines.count("2") == 2


@pytest.mark.slow
@pytest.mark.timeout(1800)  # the image is made from packages once, which takes minutes
def test_containers_have_the_programs_that_a_task_names(
    launch: Launch, docker: DockerClient
) -> None:
    assert docker
    done = launch(
        """
run: |
  for each in git curl rsync ping ps ssh; do command -v $each; done
  ping -c1 "$SKYPILOT_NODE_IPS" > /dev/null && echo pinged
  sudo -E echo "as $(whoami)"; sudo apt-get update || echo refused
""",
        engine="compose",
    )

    assert done.status == 0, done.text
    said = {"/usr/bin/git", "/usr/bin/rsync", "/usr/bin/ssh", "pinged", "as metta", "refused"}
    assert said <= {*done.lines}
