"""The faithful launcher: ``torchrun`` on every node, as the cluster does it."""

from __future__ import annotations

import sys

from metta_sandbox.node.agent.client import AgentClient
from metta_sandbox.node.launchers.base import GroupSpec, WorkerGroup


def torchrun_command(spec: GroupSpec, python: str, agent: tuple[str, ...]) -> tuple[str, ...]:
    """Build the command line that starts one node's trainers.

    Args:
        spec: What to start.
        python: The interpreter that has torch.
        agent: The command of our agent program, whose ``rank`` part runs each trainer.

    """
    return (
        python,
        "-m",
        "torch.distributed.run",
        f"--nnodes={spec.num_nodes}",
        f"--node-rank={spec.node_rank}",
        f"--nproc-per-node={spec.ranks_per_node}",
        f"--master-addr={spec.master_addr}",
        f"--master-port={spec.master_port}",
        "--max-restarts=0",
        "--no-python",
        *agent,
        "rank",
        f"--log-folder={spec.log_folder}",
        "--",
        *spec.command,
    )


class TorchrunLauncher:
    """Starts trainers through ``torchrun``.

    Args:
        client: This process's connection to the agent.
        agent: Path of the agent's zipapp.
        python: The interpreter that has torch; default: this one.

    """

    def __init__(self, client: AgentClient, agent: str, python: str = sys.executable) -> None:
        self._client = client
        self._agent = agent
        self._python = python

    def launch(self, spec: GroupSpec) -> WorkerGroup:
        """Start the trainers of one trial on this node."""
        # What is injected into the trainer's interpreter is not meant for the one that wraps it.
        agent = (self._python, "-I", "-S", self._agent)
        command = torchrun_command(spec, self._python, agent)
        cwd = None if spec.cwd is None else str(spec.cwd)
        # torchrun's own words are worth keeping: they are the cluster's words for a failure.
        self._client.start(spec.group, list(command), spec.env, cwd, str(spec.launcher_log))
        return WorkerGroup(self._client, spec)
