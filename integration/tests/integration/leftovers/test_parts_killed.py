"""Parts of a live run killed from outside: it ends, says who is lost, and leaves nothing."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from metta_sandbox.node.agent.load import slowed

if TYPE_CHECKING:
    from tests.integration.leftovers.conftest import Ground
    from tests.integration.play.conftest import Command

#: Whom to kill, and what the reason then says.
VICTIMS = [
    (("hub",), "the connection to the stack is gone"),
    (("relay",), "the connection to the stack is gone"),
    (("sweep-worker",), "sweep-worker is lost"),
    (("hub", "sweep-worker", "dummy-api"), "lost|gone"),
]


@pytest.mark.slow  # Containers are, too, by day.
@pytest.mark.parametrize(("victims", "said"), VICTIMS)
def test_local_processes(ground: Ground, victims: tuple[str, ...], said: str) -> None:
    command = _training(ground)
    for victim in victims:
        if victim == "relay":
            (part,) = _relays(command)
        else:
            (part,) = [each.pid for each in ground.processes(command, *_words(victim))]
        os.kill(part, signal.SIGKILL)

    _ends(ground, command, said)


@pytest.mark.parametrize(("victims", "said"), VICTIMS[:2] + VICTIMS[3:])
def test_containers(docker_ground: Ground, victims: tuple[str, ...], said: str) -> None:
    command = _training(docker_ground)
    assert docker_ground.docker
    if victims == ("relay",):
        # Of the client's two ends, this one dies as when Docker Desktop is quit.
        (part,) = _relays(command)
        os.kill(part, signal.SIGKILL)
    else:
        # All at once: without the first of them, the run itself ends the others.
        names = [f"metta-{command.run.lower()}-tiny-{victim}" for victim in victims]
        docker_ground.docker.container.kill(names)

    _ends(docker_ground, command, said)


#: What stands still, and what the reason then says.
STILL = [
    ("sweep-worker", "the agent of sweep-worker stands still: no sign of life for "),
    pytest.param("hub", "the hub stands still: no sign of life for ", marks=pytest.mark.slow),
    pytest.param("relay", "the relay stands still: no sign of life for ", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("part", "said"), STILL)
def test_local_processes_that_stand_still(ground: Ground, part: str, said: str) -> None:
    command = _training(ground)
    if part == "relay":
        (pid,) = _relays(command)
    else:
        (pid,) = [each.pid for each in ground.processes(command, *_words(part))]
    os.kill(pid, signal.SIGSTOP)

    _ends_as_our_fault(ground, command, said)


@pytest.mark.slow
@pytest.mark.parametrize(("part", "said"), [("sweep-worker", STILL[0][1]), ("hub", "the hub ")])
def test_containers_that_stand_still(docker_ground: Ground, part: str, said: str) -> None:
    command = _training(docker_ground)
    assert docker_ground.docker
    docker_ground.docker.container.kill(f"metta-{command.run.lower()}-tiny-{part}", "SIGSTOP")

    _ends_as_our_fault(docker_ground, command, said)


@pytest.mark.slow
def test_a_hub_without_a_network(docker_ground: Ground) -> None:
    command = _training(docker_ground)
    assert docker_ground.docker
    name = f"metta-{command.run.lower()}-tiny"
    docker_ground.docker.network.disconnect(f"{name}_stack", f"{name}-hub")

    _ends_as_our_fault(docker_ground, command, "the hub is cut off from all agents: ")


def _ends_as_our_fault(ground: Ground, command: Command, said: str) -> None:
    assert command.wait(120) == 1, command.text
    (scenario,) = command.results().scenarios
    assert scenario.verdict == "error"
    assert scenario.reason.startswith(said)
    silent = float(scenario.reason.removeprefix(said).split()[-2])
    assert silent <= slowed(8), "a second more until it is asked, and told"
    assert ground.left(command.run) == []


def _words(part: str) -> tuple[str, ...]:
    """Tell a hub or a node's agent by the words of its command."""
    return (part,) if part == "hub" else ("agent", f"--node={part}")


def _training(ground: Ground) -> Command:
    command = ground.run(ground.scenario(steps=None), "--credentials")
    command.says("ready: ", patience=300)
    # Whose log is read in the end; once its hub is dead, nothing that it says is heard.
    command.event("train.step", node="sweep-master")
    return command


def _relays(command: Command) -> list[int]:
    """Find the harness's own end of the connection."""
    pid = command.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [
        int(child)
        for child in children
        if b"relay" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
    ]


def _ends(ground: Ground, command: Command, said: str) -> None:
    assert command.wait(120) == 1, command.text
    result = command.results()
    assert any(word in result.scenarios[0].reason for word in said.split("|")), result
    assert "sandbox itself" not in result.scenarios[0].reason
    logs = command.folder / "tiny" / "logs"
    assert "train.step" in (logs / "sweep-master.log").read_text()
    assert ground.left(command.run) == []
    assert "left behind" not in command.text
