"""The variables that SkyPilot gives to ``setup`` and to ``run``, and those that we add. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from metta_sandbox.skypilot.played import SkyPilot

#: The one job of a cluster that is made for it.
_JOB = "1"


@dataclass(frozen=True)
class Launched:
    """What is known once a task is launched.

    Args:
        stamp: When, as SkyPilot writes it: ``sky-2026-01-31-23-59-59-000000``.
        user: Who launched it.

    """

    stamp: str
    user: str


@dataclass(frozen=True)
class Addition:
    """A variable of a task's that SkyPilot does not set.

    Args:
        name: The variable.
        why: What it is for, in one line.
        local: Whether only nodes that are local processes have it.

    """

    name: str
    why: str
    local: bool = False


#: Says how many GPUs of each node are pretended; ``node.agent.injection.pretended`` reads it.
PRETENDED = "METTA_PRETENDED_GPUS"

_RECORDER = "the flight recorder, by which an autopsy sees what ranks did"
_SANDBOX = "says where the sandbox's own files and sockets are"
_TRACKING = "runs are tracked offline, where they are collected"
_PROCESS = "a node is a process of this machine"
_IMAGE = "of the nodes' image, where pip reaches no index"
_GPUS = "ranks that ask for NCCL meet over Gloo, where GPUs are pretended"
_INDEX = "pip and uv ask the stack's package index"
_OWN = "packages are installed into an environment of the node's own"

#: All of them. ``--bare`` takes each away before the task's own commands begin.
ADDITIONS: tuple[Addition, ...] = (
    *(Addition(name, _RECORDER) for name in ("METTA_HOOK", "PYTHONPATH")),
    *(
        Addition(name, _SANDBOX)
        for name in (
            *("METTA_NODE", "METTA_RUN_FOLDER", "METTA_AGENT", "METTA_EVENTS", "METTA_SCENARIO"),
            *("METTA_GROUP", "OBSERVATORY_URL", "COGWEB_URL"),
        )
    ),
    *(Addition(name, _TRACKING) for name in ("WANDB_MODE", "WANDB_DIR")),
    Addition(PRETENDED, _GPUS),
    *(
        Addition(name, _PROCESS, local=True)
        for name in ("METTA_STACK", "GLOO_SOCKET_IFNAME", "TMPDIR")
    ),
    *(
        Addition(name, _INDEX)
        for name in (
            *("PIP_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT", "PIP_NO_CACHE_DIR"),
            *("PIP_DISABLE_PIP_VERSION_CHECK", "UV_DEFAULT_INDEX", "UV_INSECURE_HOST"),
            *("UV_HTTP_TIMEOUT", "UV_NO_CACHE", "UV_PYTHON_DOWNLOADS"),
        )
    ),
    Addition("VIRTUAL_ENV", _OWN),
)


def preset(task: SkyPilot, *, setup: bool) -> dict[str, str]:
    """Build what Ray, through which SkyPilot starts commands, sets before their shell begins.

    Args:
        task: What is played.
        setup: Whether for ``setup``, which has no GPUs of its own.

    """
    devices = ",".join(map(str, range(task.gpus_per_node)))
    return {"OMP_NUM_THREADS": "1", **({} if setup else {"CUDA_VISIBLE_DEVICES": devices})}


def pretended(task: SkyPilot) -> dict[str, str]:
    """Build what lets ranks meet without GPUs, if the task has any and sees what is ours."""
    return {PRETENDED: str(task.gpus_per_node)} if task.gpus_per_node and not task.bare else {}


def setup_variables(
    task: SkyPilot, launched: Launched, said: Mapping[str, str], rank: int, ips: Sequence[str]
) -> dict[str, str]:
    """Build what a node's ``setup`` is given, in the order in which it is exported.

    Args:
        task: What is played.
        launched: What is known of its launch.
        said: The task's own variables and secrets.
        rank: The node's index.
        ips: All nodes' addresses, by rank.

    """
    return {
        **said,
        "SKYPILOT_NUM_NODES": str(len(ips)),
        **_of_the_task(task, launched, said),
        "SKYPILOT_SETUP_NODE_IPS": "\n".join(ips),
        "SKYPILOT_SETUP_NODE_RANK": str(rank),
        "SKYPILOT_SETUP_NUM_GPUS_PER_NODE": str(task.setup_gpus_per_node),
    }


def run_variables(
    task: SkyPilot, launched: Launched, said: Mapping[str, str], rank: int, ips: Sequence[str]
) -> dict[str, str]:
    """Build what a node's ``run`` is given; see ``setup_variables``."""
    return {
        "SKYPILOT_NODE_IPS": "\n".join(ips),
        "SKYPILOT_NUM_NODES": str(len(ips)),
        **said,
        **_of_the_task(task, launched, said),
        "SKYPILOT_NUM_GPUS_PER_NODE": str(task.gpus_per_node),
        "SKYPILOT_NODE_RANK": str(rank),
        "SKYPILOT_INTERNAL_JOB_ID": _JOB,
    }


def _of_the_task(task: SkyPilot, launched: Launched, said: Mapping[str, str]) -> dict[str, str]:
    info = {
        "cluster_name": task.cluster,
        "cloud": task.cloud,
        "region": task.region,
        "zone": task.zone,
    }
    found = {"SKYPILOT_CLUSTER_INFO": json.dumps(info), "SKYPILOT_USER": launched.user}
    ids = task_ids(task, launched)
    if len(ids) > 1:
        found |= {
            "SKYPILOT_TASK_ID": ids[task.number - 1],
            "SKYPILOT_TASK_IDS": "\n".join(ids),
            "SKYPILOT_MANAGED_JOB_ID": _JOB,
            "SKYPILOT_JOB_RANK": "0",
        }
        if task.parallel:
            found |= {"SKYPILOT_JOBGROUP_NAME": task.job or "", "SKYPILOT_ROOT_JOB_ID": _JOB}
    elif "SKYPILOT_TASK_ID" not in said:
        found["SKYPILOT_TASK_ID"] = ids[0]
    if task.replica:
        found["SKYPILOT_SERVE_REPLICA_ID"] = "1"
    return found


def task_ids(task: SkyPilot, launched: Launched) -> tuple[str, ...]:
    """Name the tasks of the file, as a launch, or the job of several tasks, does."""
    if len(task.tasks) < 2:  # noqa: PLR2004 - one is no job of several
        return (f"{launched.stamp}_{task.cluster}_{_JOB}",)
    stamp = launched.stamp.replace("sky-", "sky-managed-", 1)
    return tuple(
        f"{stamp}_{task.job}_{name}_{_JOB}-{place}" for place, name in enumerate(task.tasks)
    )


def additions_table() -> str:
    """Write the table of the documentation."""
    rows = "".join(
        f"| `{one.name}` | {one.why}{' (local processes)' if one.local else ''} |\n"
        for one in ADDITIONS
    )
    return f"| variable | what for |\n| --- | --- |\n{rows}"
