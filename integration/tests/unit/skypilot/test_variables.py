"""What SkyPilot sets for setup and for run, and nothing of the old sandbox's."""

from __future__ import annotations

import json

from metta_sandbox.skypilot.played import SkyPilot
from metta_sandbox.skypilot.variables import (
    ADDITIONS,
    Launched,
    additions_table,
    preset,
    pretended,
    run_variables,
    setup_variables,
    task_ids,
)
from metta_sandbox.stack.node_environment import NodeSpec, node_environment

TASK = SkyPilot(
    name="train",
    cluster="c",
    job="p",
    tasks=("train",),
    cloud="AWS",
    region="us-east-1",
    gpus_per_node=8,
    setup_gpus_per_node=8,
)
LAUNCHED = Launched("sky-2026-01-02-03-04-05-000006", "alice")
IPS = ["10.0.0.1", "10.0.0.2"]
#: What tasks must set by themselves.
THEIRS = {
    *("MASTER_ADDR", "MASTER_PORT", "RANK", "LOCAL_RANK", "WORLD_SIZE", "NUM_NODES", "NODE_INDEX"),
    *("NUM_GPUS", "DIST_URL"),
}


def test_run_has_all_that_skypilot_sets() -> None:
    seen = run_variables(TASK, LAUNCHED, {"LR": "1"}, 1, IPS)

    assert json.loads(seen.pop("SKYPILOT_CLUSTER_INFO")) == {
        "cluster_name": "c",
        "cloud": "AWS",
        "region": "us-east-1",
        "zone": None,
    }
    assert seen == {
        "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2",
        "SKYPILOT_NUM_NODES": "2",
        "LR": "1",
        "SKYPILOT_USER": "alice",
        "SKYPILOT_TASK_ID": "sky-2026-01-02-03-04-05-000006_c_1",
        "SKYPILOT_NUM_GPUS_PER_NODE": "8",
        "SKYPILOT_NODE_RANK": "1",
        "SKYPILOT_INTERNAL_JOB_ID": "1",
    }


def test_setup_has_its_own() -> None:
    seen = setup_variables(TASK, LAUNCHED, {"LR": "1"}, 1, IPS)

    assert set(seen) == {
        *("LR", "SKYPILOT_NUM_NODES", "SKYPILOT_CLUSTER_INFO", "SKYPILOT_USER", "SKYPILOT_TASK_ID"),
        *("SKYPILOT_SETUP_NODE_IPS", "SKYPILOT_SETUP_NODE_RANK"),
        "SKYPILOT_SETUP_NUM_GPUS_PER_NODE",
    }
    assert seen["SKYPILOT_SETUP_NODE_RANK"] == "1"
    assert seen["SKYPILOT_SETUP_NUM_GPUS_PER_NODE"] == "8"


def test_a_tasks_own_variables_go_over_some_and_not_over_others() -> None:
    said = {"SKYPILOT_NUM_NODES": "9", "SKYPILOT_NODE_RANK": "9", "SKYPILOT_TASK_ID": "mine"}
    seen = run_variables(TASK, LAUNCHED, said, 1, IPS)

    assert seen["SKYPILOT_NUM_NODES"] == "9"
    assert seen["SKYPILOT_TASK_ID"] == "mine"
    assert seen["SKYPILOT_NODE_RANK"] == "1"


def test_several_tasks_are_a_managed_job() -> None:
    task = TASK.model_copy(update={"tasks": ("train", "eval"), "number": 2})
    seen = run_variables(task, LAUNCHED, {}, 0, IPS[:1])
    first, second = task_ids(task, LAUNCHED)

    assert first == "sky-managed-2026-01-02-03-04-05-000006_p_train_1-0"
    assert seen["SKYPILOT_TASK_ID"] == second
    assert seen["SKYPILOT_TASK_IDS"] == f"{first}\n{second}"
    assert seen["SKYPILOT_MANAGED_JOB_ID"] == "1"
    assert seen["SKYPILOT_JOB_RANK"] == "0"
    assert "SKYPILOT_JOBGROUP_NAME" not in seen
    group = task.model_copy(update={"parallel": True})
    assert run_variables(group, LAUNCHED, {}, 0, IPS)["SKYPILOT_JOBGROUP_NAME"] == "p"


def test_a_replica_knows_its_number() -> None:
    task = TASK.model_copy(update={"replica": True})

    assert run_variables(task, LAUNCHED, {}, 0, IPS)["SKYPILOT_SERVE_REPLICA_ID"] == "1"


def test_ray_sets_which_gpus_run_has_and_setup_has_none() -> None:
    assert preset(TASK, setup=False) == {
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7",
    }
    assert preset(TASK, setup=True) == {"OMP_NUM_THREADS": "1"}


def test_gpus_are_pretended_unless_nothing_of_ours_is_wanted() -> None:
    assert pretended(TASK) == {"METTA_PRETENDED_GPUS": "8"}
    assert pretended(TASK.model_copy(update={"bare": True})) == {}
    assert pretended(TASK.model_copy(update={"gpus_per_node": 0})) == {}


def test_a_node_of_a_task_has_what_we_add_and_nothing_else() -> None:
    node = NodeSpec("n", 1, 2, "m", 1, "t", "/run", "/a", "/e", "/s", variables="skypilot")
    seen = set(node_environment(node))

    assert seen <= {one.name for one in ADDITIONS}
    assert not seen & THEIRS


def test_the_table_names_every_addition_once() -> None:
    names = [one.name for one in ADDITIONS]

    assert len(names) == len(set(names))
    assert all(additions_table().count(f"`{name}`") == 1 for name in names)
