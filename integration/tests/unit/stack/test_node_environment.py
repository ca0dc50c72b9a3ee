"""SkyPilot's variables: for `run`, and the fewer for `setup`."""

from __future__ import annotations

import os
import subprocess

from metta_sandbox.stack.node_environment import (
    NodeSpec,
    job_environment,
    node_environment,
    setup_command,
    setup_environment,
)

NODE = NodeSpec(
    host="sweep-worker",
    rank=1,
    num_nodes=2,
    master_addr="sweep-master",
    master_port=8008,
    task="run-basic",
    run_folder="/run",
    agent="/agent",
    events="/events",
    scenario="/scenario",
)
IPS = ["10.0.0.2", "10.0.0.3"]


def test_a_job_sees_all_of_the_contract() -> None:
    words = ("sweep", "run=test", "trainer.total_timesteps=50")
    env = {**node_environment(NODE), **job_environment(1, IPS, "test", words)}
    told = {
        "NUM_NODES": "2",
        "NODE_INDEX": "1",
        "MASTER_ADDR": "sweep-master",
        "MASTER_PORT": "8008",
        "NUM_GPUS": "0",
        "RANK": "1",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "2",
        "DIST_URL": "tcp://sweep-master:8008",
        "SKYPILOT_NODE_RANK": "1",
        "SKYPILOT_NODE_IPS": "10.0.0.2\n10.0.0.3",
        "SKYPILOT_NUM_NODES": "2",
        "SKYPILOT_NUM_GPUS_PER_NODE": "0",
        "SKYPILOT_TASK_ID": "run-basic",
        "METTA_RUN_ID": "test",
        "METTA_CMD": "sweep",
        "METTA_CMD_ARGS": "run=test trainer.total_timesteps=50",
        "WANDB_MODE": "offline",
        "OMP_NUM_THREADS": "1",
    }
    assert told.items() <= env.items()


def test_setup_sees_what_skypilot_gives_to_setup_alone() -> None:
    done = subprocess.run(
        setup_command("env"),
        env={"PATH": os.environ["PATH"], **node_environment(NODE), **setup_environment(1, IPS)},
        capture_output=True,
        text=True,
        check=True,
    )
    seen = {line.partition("=")[0] for line in done.stdout.splitlines()}
    assert seen >= {
        "SKYPILOT_SETUP_NODE_RANK",
        "SKYPILOT_SETUP_NODE_IPS",
        "SKYPILOT_NUM_NODES",
        "SKYPILOT_TASK_ID",
    }
    assert not seen & {
        "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "DIST_URL", "NUM_NODES",
        "NODE_INDEX", "NUM_GPUS", "SKYPILOT_NODE_RANK", "SKYPILOT_NODE_IPS",
        "SKYPILOT_NUM_GPUS_PER_NODE", "METTA_CMD",
    }  # fmt: skip
    assert "SKYPILOT_SETUP_NODE_RANK=1" in done.stdout


def test_setup_ends_at_the_first_command_that_fails() -> None:
    done = subprocess.run(setup_command("false\ntouch /tmp/never"), check=False)
    assert done.returncode == 1
