"""What integration tests share: an engine left as it was found, and an ordinary user beside us."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from metta_sandbox.stack.engines.compose.leftovers import made_on_engine


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


@pytest.fixture(scope="session", autouse=True)
def _the_engine_stays_as_it_was(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail a session that leaves something on the engine, or a mount; name whose it is."""
    ours = str(tmp_path_factory.getbasetemp())
    before = {*_on_engine(ours), *_mounts(ours)}
    yield
    left = sorted({*_on_engine(ours), *_mounts(ours)} - before)
    assert not left, "tests have left behind:\n" + "\n".join(left)


def _on_engine(ours: str) -> list[str]:
    """List what tests have made in the engine, each with the test's folder."""
    try:
        made = made_on_engine()
    except FileNotFoundError:  # no client
        return []
    # Runs and tests beside these may come and go; what is ours has leases in a folder of ours.
    own = f"-{os.getpid()}"
    return [
        f"{what} {name}: made with leases in {found.owner.leases}"
        for found in made.values()
        if found.owner.leases.startswith(ours) or own in found.owner.leases
        for what, names in found.things.items()
        for name in names
    ]


def _mounts(ours: str) -> list[str]:
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return []
    places = [line.split()[1] for line in mounts.read_text().splitlines()]
    return [f"mount {each}" for each in places if each.startswith((ours, "/tmp/mt-"))]
