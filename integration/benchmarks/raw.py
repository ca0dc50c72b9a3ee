"""Plain containers through Docker Compose, as somebody would write them down by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.talking import call

#: Where the benchmark's scripts are in plain containers.
MOUNTED = "/bench"


def node(number: int) -> str:
    """Name a node, which is its host's name, too."""
    return f"node-{number}"


def compose_file(project: str, image: str, nodes: int, scripts: Path | None) -> dict[str, Any]:
    """Build a Compose file of containers that only sleep; killed when told to stop.

    Args:
        project: The Compose project.
        image: What they are made of.
        nodes: How many.
        scripts: A folder that they see, or None.

    """
    service: Mapping[str, Any] = {
        "image": image,
        "command": ["sleep", "infinity"],
        # As a first process, sleep does not hear of SIGTERM, and would cost everybody ten seconds.
        "stop_signal": "SIGKILL",
        "environment": {"OMP_NUM_THREADS": "1"},
        "volumes": [f"{scripts}:{MOUNTED}:ro"] if scripts else [],
    }
    return {"name": project, "services": {node(number): service for number in range(nodes)}}


class RawStack:
    """Such containers.

    Args:
        folder: Gets the Compose file.
        project: The Compose project.
        image: What they are made of.
        nodes: How many.
        scripts: A folder that they see, or None.

    """

    def __init__(
        self, folder: Path, project: str, image: str, nodes: int, scripts: Path | None = None
    ) -> None:
        self.folder = folder
        self.project = project
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "compose.json"
        file.write_text(json.dumps(compose_file(project, image, nodes, scripts), indent=1))
        self.compose = ("docker", "compose", "--file", str(file))

    def up(self) -> float:
        """Start all; returns the seconds it took, as all of these do.

        Not with ``--wait``, which looks only now and then, where a started ``sleep`` is ready.
        """
        return call([*self.compose, "up", "--detach", "--quiet-pull"])

    def logs(self) -> float:
        """Collect all logs into a file."""
        return call([*self.compose, "logs", "--no-color"], output=self.folder / "logs")

    def down(self) -> float:
        """Stop and remove all."""
        return call([*self.compose, "down", "--volumes", "--remove-orphans"])

    def execute(self, number: int, *command: str) -> tuple[str, ...]:
        """Build the command that runs something on a node."""
        return (*self.compose, "exec", "--no-TTY", node(number), *command)


def torchrun(nodes: int, rank: int, port: int, *arguments: str) -> tuple[str, ...]:
    """Build the command that starts one node's rank of the benchmark's script."""
    return (
        "torchrun",
        f"--nnodes={nodes}",
        f"--node-rank={rank}",
        "--nproc-per-node=1",
        f"--master-addr={node(0)}",
        f"--master-port={port}",
        f"{MOUNTED}/ddp.py",
        *arguments,
    )
