"""Plain containers through Docker Compose, as somebody would write them down by hand."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.contest import UnableError
from benchmarks.inside.readiness import PROGRAM, await_all
from benchmarks.talking import call

#: Where the benchmark's scripts are in plain containers.
MOUNTED = "/bench"
#: Where they all see one folder, and may write.
SHARED = "/shared"


def node(number: int) -> str:
    """Name a node, which is its host's name, too."""
    return f"node-{number}"


def compose_file(
    project: str, image: str, nodes: int, scripts: Path | None = None
) -> dict[str, Any]:
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


def speaking_file(project: str, image: str, containers: int) -> dict[str, Any]:
    """Build a Compose file of containers that each start a Python program, which says so."""
    service: Mapping[str, Any] = {
        "image": image,
        "command": ["python3", "-c", PROGRAM],
        "environment": {"OMP_NUM_THREADS": "1"},
    }
    return {"name": project, "services": {node(number): service for number in range(containers)}}


def training_file(
    project: str, image: str, nodes: int, scripts: Path, shared: Path
) -> dict[str, Any]:
    """Build a Compose file of containers that each run a rank which stays, and nothing else.

    Args:
        project: The Compose project.
        image: What they are made of.
        nodes: How many.
        scripts: The folder of the trainer.
        shared: Where ranks say that they have trained.

    """
    services = {
        node(number): {
            "image": image,
            "command": list(torchrun(nodes, number, 29500, script="holding.py")),
            "stop_signal": "SIGKILL",
            "environment": {"OMP_NUM_THREADS": "1", "BENCH_SHARED": SHARED},
            "volumes": [f"{scripts}:{MOUNTED}:ro", f"{shared}:{SHARED}"],
        }
        for number in range(nodes)
    }
    return {"name": project, "services": services}


class RawStack:
    """Containers that plain Compose brings up.

    Args:
        folder: Gets the Compose file.
        file: What stands in it.

    """

    def __init__(self, folder: Path, file: Mapping[str, Any]) -> None:
        self.folder = folder
        self.project: str = file["name"]
        self._containers = len(file["services"])
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "compose.json"
        path.write_text(json.dumps(file, indent=1))
        self.compose = ("docker", "compose", "--file", str(path))

    def up(self) -> float:
        """Start all containers; returns the seconds it took, as all of these do.

        Not with ``--wait``, which looks only now and then, where a started ``sleep`` is ready.
        """
        return call([*self.compose, "up", "--detach", "--quiet-pull"])

    def up_to_ready(self) -> float:
        """Start all containers, until each has said that it is ready."""
        began = time.perf_counter()
        self.up()
        try:
            await_all(self.compose, self._containers)
        except RuntimeError as error:
            raise UnableError(str(error)) from None
        return time.perf_counter() - began

    def logs(self) -> float:
        """Collect all logs into a file."""
        return call([*self.compose, "logs", "--no-color"], output=self.folder / "logs")

    def down(self) -> float:
        """Stop and remove all containers."""
        return call([*self.compose, "down", "--volumes", "--remove-orphans"])

    def execute(self, number: int, *command: str) -> tuple[str, ...]:
        """Build the command that runs something on a node."""
        return (*self.compose, "exec", "--no-TTY", node(number), *command)


def torchrun(
    nodes: int, rank: int, port: int, *arguments: str, script: str = "ddp.py"
) -> tuple[str, ...]:
    """Build the command that starts one node's rank of a script of the benchmark's."""
    return (
        "torchrun",
        f"--nnodes={nodes}",
        f"--node-rank={rank}",
        "--nproc-per-node=1",
        f"--master-addr={node(0)}",
        f"--master-port={port}",
        f"{MOUNTED}/{script}",
        *arguments,
    )
