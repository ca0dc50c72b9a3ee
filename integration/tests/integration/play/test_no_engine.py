"""No Docker, one that does not answer, one without Compose: said so, or done without."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from metta_sandbox.errors import MachineError
from metta_sandbox.stack.engines import choose
from metta_sandbox.stack.engines.compose import detection
from metta_sandbox.stack.engines.process.engine import ProcessEngine

if TYPE_CHECKING:
    from tests.integration.play.conftest import Start, Write


def test_without_an_engine_auto_plays_on_local_processes_and_says_so(
    cli: Start, tiny: Write
) -> None:
    command = cli("run", tiny())

    assert command.wait() == 0, command.text
    (line,) = [line for line in command.text.splitlines() if line.startswith("! ")]
    assert "no Docker engine answers" in line
    assert "/nonexistent/docker.sock" in line
    assert "playing on local processes instead" in line
    result = command.results()
    assert (result.engine, result.scenarios[0].engine) == ("process", "process")
    assert json.loads((command.folder / "environment.json").read_text())["engine"] == "process"
    assert command.left() == []


@pytest.mark.parametrize(("options", "ci"), [((), "true"), (("--engine", "compose"), "false")])
def test_without_an_engine_nothing_is_played_in_ci_or_where_compose_is_asked_for(
    cli: Start, tiny: Write, options: tuple[str, ...], ci: str
) -> None:
    command = cli("run", tiny(), *options, CI=ci)

    assert command.wait() == 3
    assert "no Docker engine answers" in command.text
    assert "--engine process" in command.text.partition("->")[2]
    assert "Traceback" not in command.text
    result = command.results()
    assert (result.verdict, result.scenarios) == ("error", ())
    assert result.reason.startswith("no Docker engine answers")
    assert command.left() == []


def test_a_daemon_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detection, "_PATIENCE", 0.5)
    path = tmp_path / "docker.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    said: list[str] = []
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(str(path))
        daemon.listen()

        with pytest.raises(MachineError, match=r"the Docker engine does not answer: .* 0.5 s"):
            choose("compose", ci=False, notice=said.append)
        with pytest.raises(MachineError, match="the Docker engine does not answer"):
            choose("auto", ci=True, notice=said.append)
        assert said == []
        assert isinstance(choose("auto", ci=False, notice=said.append), ProcessEngine)

    assert len(said) == 1
    assert "does not answer" in said[0]


@pytest.fixture
def client(tmp_path: Path) -> Callable[[str], str]:
    """Put a Docker client of our own first on the PATH; gives the PATH."""

    def make(compose: str) -> str:
        folder = tmp_path / "bin"
        folder.mkdir()
        script = folder / "docker"
        script.write_text(
            "#!/bin/sh\n"
            'case "$1" in\n'
            """version) echo '"27.1.0"' ;;\n"""
            f"compose) {compose} ;;\n"
            "*) exit 1 ;;\n"
            "esac\n"
        )
        script.chmod(0o755)
        return f"{folder}{os.pathsep}{os.environ['PATH']}"

    return make


@pytest.mark.parametrize(
    ("compose", "said"),
    [
        ("echo \"docker: 'compose' is not a docker command.\" >&2; exit 1", "no Compose v2"),
        ("echo 1.29.2", "Docker Compose is 1.29.2; 2 or newer is needed"),
    ],
)
def test_an_engine_without_compose_v2(
    cli: Start, tiny: Write, client: Callable[[str], str], compose: str, said: str
) -> None:
    command = cli("run", tiny(), PATH=client(compose))

    assert command.wait() == 3
    assert said in command.text
    assert "docker-compose-plugin" in command.text.partition("->")[2]
    assert said in command.results().reason
    assert command.left() == []


def test_a_user_who_may_not_talk_to_the_engine(
    cli: Start, tiny: Write, client: Callable[[str], str], tmp_path: Path
) -> None:
    path = client("exit 1")
    (tmp_path / "bin" / "docker").write_text(
        "#!/bin/sh\necho 'permission denied while trying to connect to the Docker daemon' >&2\n"
        "exit 1\n"
    )
    command = cli("run", tiny(), "--engine", "compose", PATH=path)

    assert command.wait() == 3
    assert "this user may not talk to the Docker engine" in command.text
    assert "usermod -aG docker" in command.text
