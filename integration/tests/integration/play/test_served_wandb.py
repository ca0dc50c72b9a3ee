"""Trainers that track online, unmodified, to the W&B that a scenario serves."""

from __future__ import annotations

from pathlib import Path

from python_on_whales import DockerClient

from .conftest import Command, Start

TRAINER = """\
import sys, torch.distributed as dist, wandb
dist.init_process_group("gloo")
rank = dist.get_rank()
if rank == 0 or sys.argv[1] == "every":
    run = wandb.init(project="p", id="same", resume="allow")
    for step in range(3):
        run.log({"loss": 1 / (step + 1)}, step=step)
    run.summary["score"] = 0.9
    run.finish()
if rank == 0:
    asked = wandb.Api().run("p/same")
    print("asked:", asked.summary["score"], asked.state, len(list(asked.scan_history())))
dist.barrier()
dist.destroy_process_group()
"""
SCENARIO = """\
version: 1
name: tiny
services:
  wandb:
    answers: [{operation: UpsertBucket, call: 1, status: 503}]
workload:
  folder: code
  run: >
    torchrun --nnodes 2 --node-rank $NODE_INDEX --nproc-per-node 1 --master-addr $MASTER_ADDR
    --master-port $MASTER_PORT train.py WHO
"""


def write(folder: Path, who: str) -> Path:
    (folder / "code").mkdir()
    (folder / "code" / "train.py").write_text(TRAINER)
    file = folder / "tiny.yaml"
    file.write_text(SCENARIO.replace("WHO", who))
    return file


def require_tracked(command: Command) -> None:
    assert command.wait(300) == 0, command.text
    (scenario,) = command.results().scenarios
    assert "W&B's server" in {check.name for check in scenario.checks}
    log = (command.folder / "tiny" / "logs" / "sweep-master.log").read_text()
    assert "503 encountered" in log


def expecting(file: Path) -> str:
    with file.open("a") as more:
        more.write("expect: [{wandb: {history: 3, summary: {score: 0.9}}},")
        more.write(" {log: {contains: 'asked: 0.9 finished 3', on: sweep-master}}]\n")
    return str(file)


def test_a_trainer_tracks_online_and_asks_what_it_told(cli: Start, tmp_path: Path) -> None:
    require_tracked(cli("run", expecting(write(tmp_path, "one")), "--engine", "process"))


def test_so_it_does_in_containers(cli: Start, tmp_path: Path, docker: DockerClient) -> None:
    command = cli("run", expecting(write(tmp_path, "one")), "--engine", "compose")
    require_tracked(command)
    assert command.left(docker) == []


def test_one_run_that_two_nodes_write_is_a_finding(cli: Start, tmp_path: Path) -> None:
    command = cli("run", str(write(tmp_path, "every")), "--engine", "process")
    assert command.wait(200) == 1, command.text
    (scenario,) = command.results().scenarios
    (check,) = [check for check in scenario.checks if check.name == "W&B's server"]
    assert "sweep-master and sweep-worker all told 3 steps" in check.detail
