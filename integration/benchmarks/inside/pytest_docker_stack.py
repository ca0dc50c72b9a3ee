"""A stack up, its logs, and down again with the functions behind pytest-docker's fixture."""
# ruff: noqa: INP001 - started by its path, in an interpreter that is not ours

import sys
import time
from pathlib import Path
from typing import Any

from answering import serve
from pytest_docker.plugin import DockerComposeExecutor, get_docker_services
from readiness import await_all

project, folder, containers = sys.argv[1:]
file = f"{folder}/compose.json"


def work(_request: dict[str, Any]) -> dict[str, Any]:
    """Do it once. It has nothing for logs, so its executor asks Compose for them."""
    times = [time.perf_counter()]
    # The fixture's defaults, but for --build: there is nothing to build.
    with get_docker_services("docker compose", file, project, ["up -d --wait"], ["down -v"]):
        await_all(("docker", "compose", "--file", file, "--project-name", project), int(containers))
        times.append(time.perf_counter())
        said = DockerComposeExecutor("docker compose", file, project).execute("logs --no-color")
        (Path(folder) / "logs").write_bytes(said)
        times.append(time.perf_counter())
    times.append(time.perf_counter())
    return {name: times[i + 1] - times[i] for i, name in enumerate(("up", "logs", "down"))}


serve(work)
