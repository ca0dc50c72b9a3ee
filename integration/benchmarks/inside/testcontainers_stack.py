"""A stack up, its logs, and down again with testcontainers' ``DockerCompose``."""
# ruff: noqa: INP001 - started by its path, in an interpreter that is not ours

import sys
import time
from pathlib import Path
from typing import Any

from answering import serve
from readiness import await_all
from testcontainers.compose import DockerCompose

_, folder, containers = sys.argv[1:]


def work(_request: dict[str, Any]) -> dict[str, Any]:
    """Bring the stack up, collect its logs and take it down once."""
    compose = DockerCompose(folder, compose_file_name="compose.json")
    times = [time.perf_counter()]
    with compose:
        await_all(("docker", "compose", "--file", f"{folder}/compose.json"), int(containers))
        times.append(time.perf_counter())
        (Path(folder) / "logs").write_text("".join(compose.get_logs()))
        times.append(time.perf_counter())
    times.append(time.perf_counter())
    return {name: times[i + 1] - times[i] for i, name in enumerate(("up", "logs", "down"))}


serve(work)
