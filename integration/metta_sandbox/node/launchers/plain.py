"""The launcher for trainers that need none: each rank a process, or one process for all of a node.

``own`` starts a command that starts its ranks itself, once on each node, and so sees which node of
how many it is on, but nothing that makes it believe to be a rank. Otherwise every rank is started
with the variables that torch's ``env://`` initialisation reads (RANK, WORLD_SIZE, LOCAL_RANK,
MASTER_ADDR, MASTER_PORT); the first to fail ends the others, as under torchrun.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from contextlib import suppress

from metta_sandbox.node.agent.client import AgentClient
from metta_sandbox.node.agent.injection.hook import INHERITED
from metta_sandbox.node.launchers.base import GroupSpec, WorkerGroup

#: Variables that every rank has its own of. Where one is set, accelerate and Lightning take it that
#: the ranks were started by somebody else.
OF_A_RANK = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")

#: Seconds that ranks get to end by themselves once one has failed.
_GRACE = 5.0


class PlainLauncher:
    """Starts trainers without torchrun.

    Args:
        client: This process's connection to the agent.
        agent: Path of the agent's zipapp.
        own: Whether one command is started on each node, which starts the ranks.
        python: The interpreter that runs what is between; default: this one.

    """

    def __init__(
        self, client: AgentClient, agent: str, *, own: bool, python: str = sys.executable
    ) -> None:
        self._client = client
        self._agent = agent
        self._own = own
        self._python = python

    def launch(self, spec: GroupSpec) -> WorkerGroup:
        """Start the trainers of one trial on this node."""
        agent = (self._python, "-I", "-S", self._agent)
        started = (*as_no_rank(spec.env), *spec.command) if self._own else spec.command
        wrapped = (*agent, "rank", f"--log-folder={spec.log_folder}", "--", *started)
        cwd = None if spec.cwd is None else str(spec.cwd)
        env = {
            **place_of(spec.node_rank),
            **spec.env,
            "MASTER_ADDR": spec.master_addr,
            "MASTER_PORT": str(spec.master_port),
            "DIST_URL": f"tcp://{spec.master_addr}:{spec.master_port}",
        }
        command = list(wrapped)
        if self._own:
            # What it starts is to find the same that a rank of ours does.
            env[INHERITED] = "1"
        else:
            command = [
                *(self._python, "-m", "metta_sandbox.node.launchers.plain"),
                *(f"--nodes={spec.num_nodes}", f"--node-rank={spec.node_rank}"),
                *(f"--ranks-per-node={spec.ranks_per_node}", "--"),
                *wrapped,
            ]
        self._client.start(spec.group, command, env, cwd, str(spec.launcher_log))
        return WorkerGroup(self._client, spec)


def as_no_rank(own: Collection[str]) -> tuple[str, ...]:
    """Build what goes before a command that is not to believe that it is one of the ranks.

    Args:
        own: Variables that the scenario sets itself, and which stay.

    """
    return ("env", *(word for name in OF_A_RANK if name not in own for word in ("-u", name)))


def place_of(node_rank: int) -> dict[str, str]:
    """Build the variables that name the node: Lightning's own, and torchrun's."""
    return {"NODE_RANK": str(node_rank), "GROUP_RANK": str(node_rank)}


def rank_environment(
    nodes: int, node_rank: int, ranks_per_node: int, local_rank: int
) -> dict[str, str]:
    """Build the variables of one rank.

    See "Environment variable initialization" in https://docs.pytorch.org/docs/stable/distributed.html;
    LOCAL_RANK and LOCAL_WORLD_SIZE are torchrun's.
    """
    return {
        "RANK": str(node_rank * ranks_per_node + local_rank),
        "WORLD_SIZE": str(nodes * ranks_per_node),
        "LOCAL_RANK": str(local_rank),
        "LOCAL_WORLD_SIZE": str(ranks_per_node),
    }


def run_ranks(environments: Sequence[dict[str, str]], command: Sequence[str]) -> int:
    """Run a command once for each rank; returns the status of the first that failed, or 0."""
    ranks = [subprocess.Popen(command, env={**os.environ, **env}) for env in environments]
    live = {rank.pid: rank for rank in ranks}

    def end(number: int, _frame: object) -> None:
        # Popen's own way would reap one that the loop below waits for.
        for pid in live:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    failed = 0
    while live and not failed:
        pid, status = os.wait()
        if rank := live.pop(pid, None):
            failed = rank.returncode = os.waitstatus_to_exitcode(status)
    for rank in live.values():
        rank.terminate()
    deadline = time.monotonic() + _GRACE
    for rank in live.values():
        try:
            rank.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            rank.kill()
            rank.wait()
    return failed


def main() -> int:
    """Run the ranks of one node."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--node-rank", type=int, required=True)
    parser.add_argument("--ranks-per-node", type=int, required=True)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    environments = [
        rank_environment(options.nodes, options.node_rank, options.ranks_per_node, local_rank)
        for local_rank in range(options.ranks_per_node)
    ]
    status = run_ranks(environments, options.command)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
