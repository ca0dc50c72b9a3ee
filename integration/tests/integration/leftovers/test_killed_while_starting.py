"""What a killed harness had asked an engine for may come into being later, and goes, too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.integration.leftovers.conftest import Ground


def test_containers_that_come_into_being_once_the_harness_is_dead(
    docker_ground: Ground,
) -> None:
    ground = docker_ground
    command = ground.run(ground.scenario())
    command.says("starting 2 nodes as containers", patience=300)
    clients = ground.eventually(lambda: _clients(command.folder.name), "Compose starts the stack")
    # Compose stands still while the harness dies, and goes on while the next one tidies up.
    for pid in clients:
        os.kill(pid, signal.SIGSTOP)
    command.process.kill()
    command.process.wait()
    with subprocess.Popen(
        [sys.executable, "-m", "metta_sandbox", "clean"],
        env={**os.environ, **ground.env, "XDG_STATE_HOME": str(ground.folder / "state")},
        stdout=subprocess.PIPE,
        text=True,
    ) as cleaning:
        # It waits for Compose; if it didn't, it would be done by now.
        with suppress(subprocess.TimeoutExpired):
            cleaning.wait(4)
        for pid in clients:
            os.kill(pid, signal.SIGCONT)
        said = cleaning.communicate()[0]

    # Of other stacks on this engine it may say more.
    assert f"removed what the run {command.run} left behind\n" in said
    assert _clients(command.run) == []
    assert ground.left(command.run) == []


def test_a_relay_that_never_found_its_hub(ground: Ground) -> None:
    command = ground.run(ground.scenario())
    command.says("starting 2 nodes as local processes")
    for each in ground.eventually(lambda: ground.processes(command, "hub"), "a hub"):
        each.signal(signal.SIGKILL)
    command.process.kill()
    command.process.wait()

    ground.say("clean")

    assert ground.left(command.run) == []


def _clients(run: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "up" in words and any(run.lower() in word.lower() for word in words):
            found.append(int(entry.name))
    return found
