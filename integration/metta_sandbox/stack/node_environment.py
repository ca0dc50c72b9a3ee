"""What a node sees: the variables that SkyPilot sets, and our own. Pure.

Of a scenario's own commands and of sweeps, nodes have variables that tasks of the sandbox's users
export by themselves, such as ``MASTER_ADDR``. Of a SkyPilot task they have what SkyPilot sets and
what we must add (``skypilot.variables``), and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

#: Whose variables a node has: those of the sandbox's sweeps and commands, or SkyPilot's.
Whose = Literal["sandbox", "skypilot"]


@dataclass(frozen=True)
class NodeSpec:
    """One node among the nodes of a stack.

    Args:
        host: Its host name.
        rank: Its index, from 0.
        num_nodes: How many nodes there are.
        master_addr: Name or address of node 0.
        master_port: Port of the sweep's store on node 0.
        task: Names the run, for ``SKYPILOT_TASK_ID``.
        run_folder: The folder shared by all nodes, as the node sees it.
        agent: The agent's zipapp, as the node sees it.
        events: The agent's socket, as the node sees it.
        scenario: The scenario file, as the node sees it.
        num_gpus: GPUs on each node.
        served_wandb: Whether W&B's clients have a server, which is told what node they are on.
        variables: Whose variables it has.

    """

    host: str
    rank: int
    num_nodes: int
    master_addr: str
    master_port: int
    task: str
    run_folder: str
    agent: str
    events: str
    scenario: str
    num_gpus: int = 0
    served_wandb: bool = False
    variables: Whose = "sandbox"


def node_environment(node: NodeSpec) -> dict[str, str]:
    """Build the variables that are fixed when a node is made."""
    ours = {
        "WANDB_MODE": "offline",
        "METTA_NODE": node.host,
        "METTA_RUN_FOLDER": node.run_folder,
        "METTA_AGENT": node.agent,
        "METTA_EVENTS": node.events,
        "METTA_SCENARIO": node.scenario,
    }
    if node.served_wandb:
        ours["WANDB_X_EXTRA_HTTP_HEADERS"] = json.dumps({"X-Metta-Node": node.host})
    if node.variables == "skypilot":
        return ours
    return {
        "NUM_NODES": str(node.num_nodes),
        "NODE_INDEX": str(node.rank),
        "MASTER_ADDR": node.master_addr,
        "MASTER_PORT": str(node.master_port),
        "NUM_GPUS": str(node.num_gpus),
        "RANK": str(node.rank),
        "LOCAL_RANK": "0",
        "WORLD_SIZE": str(node.num_nodes),
        "DIST_URL": f"tcp://{node.master_addr}:{node.master_port}",
        "SKYPILOT_TASK_ID": node.task,
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
        **ours,
    }


#: A key as W&B's client wants one; its stand-in takes any.
_WANDB_KEY = "local" + 35 * "0"


def control_plane(host: str, ready: Mapping[str, Any]) -> dict[str, str]:
    """Build the variables that say where the control plane is, and W&B's stand-in if there is one.

    Args:
        host: Its name or address.
        ready: The fields of its ``api.ready``.

    """
    found = {
        "OBSERVATORY_URL": f"http://{host}:{ready['observatory_port']}",
        "COGWEB_URL": f"http://{host}:{ready['cogweb_port']}",
    }
    if port := ready.get("wandb_port"):
        found["WANDB_BASE_URL"] = f"http://{host}:{port}"
        found["WANDB_API_KEY"] = _WANDB_KEY
        found["WANDB_MODE"] = "online"
    return found


def job_environment(
    node_rank: int, addresses: Sequence[str], run: str, words: Sequence[str], num_gpus: int = 0
) -> dict[str, str]:
    """Build the variables that a job sees beside the node's: SkyPilot's own, and the command.

    Args:
        node_rank: The node's index.
        addresses: All nodes' addresses, by rank.
        run: The sweep's name.
        words: The command, such as ``sweep run=test``.
        num_gpus: GPUs on each node.

    """
    return {
        "SKYPILOT_NODE_RANK": str(node_rank),
        "SKYPILOT_NODE_IPS": "\n".join(addresses),
        "SKYPILOT_NUM_NODES": str(len(addresses)),
        "SKYPILOT_NUM_GPUS_PER_NODE": str(num_gpus),
        "METTA_RUN_ID": run,
        "METTA_CMD": words[0],
        "METTA_CMD_ARGS": " ".join(words[1:]),
    }


#: What of a node's variables a task itself exports in its ``run``, so that ``setup`` lacks them.
_RUN_ONLY = (
    *("NUM_NODES", "NODE_INDEX", "MASTER_ADDR", "MASTER_PORT", "NUM_GPUS"),
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "DIST_URL"),
)


def setup_command(script: str) -> list[str]:
    """Build the command that runs a setup script without what only ``run`` is given."""
    unset = [word for name in _RUN_ONLY for word in ("-u", name)]
    return ["env", *unset, "/bin/sh", "-ec", script]


def setup_environment(node_rank: int, addresses: Sequence[str]) -> dict[str, str]:
    """Build the variables that SkyPilot gives to ``setup``.

    See "Environment variables for setup" in
    https://docs.skypilot.co/en/latest/running-jobs/environment-variables.html; SKYPILOT_TASK_ID
    is the node's already.
    """
    return {
        "SKYPILOT_SETUP_NODE_RANK": str(node_rank),
        "SKYPILOT_SETUP_NODE_IPS": "\n".join(addresses),
        "SKYPILOT_NUM_NODES": str(len(addresses)),
    }
