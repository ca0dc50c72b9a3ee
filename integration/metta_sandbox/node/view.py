"""What a node sees of the stack it is in: the environment variables SkyPilot's users rely on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from metta_sandbox.errors import InputError


@dataclass(frozen=True)
class NodeView:
    """One node's place among the nodes.

    Args:
        host: Its host name.
        node_rank: Its index, from 0.
        num_nodes: How many nodes there are.
        master_addr: Host or address of node 0.
        master_port: Port of the sweep's store, on node 0.
        run_folder: The folder all nodes share.
        events: Path of the agent's socket.
        agent: Path of the agent's zipapp.

    """

    host: str
    node_rank: int
    num_nodes: int
    master_addr: str
    master_port: int
    run_folder: Path
    events: str
    agent: str

    @property
    def is_master(self) -> bool:
        """Whether this is node 0, which alone talks to the control plane and the tracker."""
        return self.node_rank == 0

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> NodeView:
        """Read a node's place from its environment.

        Raises:
            InputError: A variable is missing or no number.

        """
        try:
            return cls(
                host=environ["METTA_NODE"],
                node_rank=int(environ["NODE_INDEX"]),
                num_nodes=int(environ["NUM_NODES"]),
                master_addr=environ["MASTER_ADDR"],
                master_port=int(environ["MASTER_PORT"]),
                run_folder=Path(environ["METTA_RUN_FOLDER"]),
                events=environ["METTA_EVENTS"],
                agent=environ["METTA_AGENT"],
            )
        except KeyError as error:
            raise InputError(
                f"{error.args[0]} is not set, so this is no node of a stack",
                "start it through metta-sandbox, which sets it on every node",
            ) from None
        except ValueError as error:
            raise InputError(f"NODE_INDEX, NUM_NODES, MASTER_PORT: {error}") from None
