"""What integration tests share: an ordinary user beside the one who tests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class InGroup:
    """How a user of the docker group reaches the engine.

    Args:
        group: The number of the group that the engine's socket belongs to.
        env: Variables for the engine's client.

    """

    group: int
    env: dict[str, str]


InDockerGroup = Callable[[Path], InGroup]


@pytest.fixture(scope="session")
def in_docker_group() -> InDockerGroup:
    """Let homes have the client that this user has: the same engine, and the plugins, which may
    be this user's alone (``~/.docker/cli-plugins``).
    """
    ask = ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
    host = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip()
    config = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")

    def reach(home: Path) -> InGroup:
        socket = Path(host.removeprefix("unix://"))
        if not (host.startswith("unix://") and socket.is_socket()):
            pytest.skip(f"the engine at {host!r} is not reached by a socket, which has a group")
        plugins = home / ".docker" / "cli-plugins"
        plugins.mkdir(parents=True)
        for path in (config / "cli-plugins").glob("*"):
            (plugins / path.name).symlink_to(path.resolve())
        env = {"DOCKER_CONFIG": str(plugins.parent), "DOCKER_HOST": host}
        return InGroup(socket.stat().st_gid, env)

    return reach
