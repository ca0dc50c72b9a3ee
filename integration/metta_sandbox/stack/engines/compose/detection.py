"""Whether this machine has a Docker engine that answers, and Compose."""

from __future__ import annotations

import json
import shutil
import subprocess

from metta_sandbox.errors import MachineError
from metta_sandbox.stack.engines.base import Engine, NoAnswerError

#: Seconds within which an engine must answer.
_PATIENCE = 15.0
_START = "sudo systemctl start docker   (or: --engine process, which needs none)"
_INSTALL_COMPOSE = (
    "sudo apt-get install docker-compose-plugin   (https://docs.docker.com/compose; "
    "or: --engine process, which needs none)"
)


def find_compose() -> Engine:
    """Return the engine for containers.

    Raises:
        MachineError: No engine answers, or it has no Compose v2.

    """
    versions = {"docker": _docker_version(), "compose": _compose_version()}
    # Its packages take a moment, for which nobody need wait where there is no Docker.
    from metta_sandbox.stack.engines.compose.engine import ComposeEngine  # noqa: PLC0415

    return ComposeEngine(versions)


def _docker_version() -> str:
    if shutil.which("docker") is None:
        raise NoAnswerError(
            "no Docker client is installed", "https://docs.docker.com/engine/install"
        )
    said = _ask(["docker", "version", "--format", "{{json .Server.Version}}"])
    if said.returncode == 0:
        return str(json.loads(said.stdout))
    words = said.stderr.strip()
    if "permission denied" in words:
        raise NoAnswerError(
            "this user may not talk to the Docker engine", "sudo usermod -aG docker $USER"
        )
    raise NoAnswerError(
        f"no Docker engine answers ({words.splitlines()[-1] if words else '?'})", _START
    )


def _compose_version() -> str:
    said = _ask(["docker", "compose", "version", "--short"])
    version = said.stdout.strip().lstrip("v")
    if said.returncode != 0 or not version:
        old = ", only docker-compose v1" if shutil.which("docker-compose") else ""
        raise MachineError(f"Docker has no Compose v2 plugin{old}", _INSTALL_COMPOSE)
    if version.startswith(("0.", "1.")):
        raise MachineError(f"Docker Compose is {version}; 2 or newer is needed", _INSTALL_COMPOSE)
    return version


def _ask(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise NoAnswerError(
            f"the Docker engine does not answer: {command[1]} took over {_PATIENCE:g} s",
            _START,
        ) from None
