"""Ctrl-C, SIGTERM and kill -9 at any moment: the evidence is kept, and nothing goes on."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.play.conftest import Command, Start, Write

ENGINE = ("--engine", "process")


def interrupted(command: Command, *statuses: int) -> None:
    """Wait for the end, and make sure that the evidence is there and nobody else is."""
    assert command.wait() in (statuses or (130,)), command.text
    assert "Traceback" not in command.text
    assert "Aborted" not in command.text
    result = command.results()
    assert (result.verdict, result.reason) == ("error", "interrupted")
    assert command.text.count("ERROR  ") == 1
    assert command.left() == []


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.1, 0.2, 0.4, 0.6])
def test_ctrl_c_before_the_stack_is_ready(cli: Start, tiny: Write, delay: float) -> None:
    command = cli("run", tiny(steps=None), *ENGINE)
    environment = command.folder / "environment.json"
    command.eventually(environment.exists, "environment.json")
    threading.Event().wait(delay)

    command.interrupt()

    interrupted(command)


def test_ctrl_c_at_a_terminal_in_mid_training_and_again_while_it_is_tidied_up(
    cli: Start, tiny: Write
) -> None:
    command = cli("run", tiny(steps=None), *ENGINE)
    command.event("train.step", rank=1)

    command.interrupt_group()
    command.says("interrupted: keeping the evidence")
    command.interrupt_group()

    interrupted(command)
    (scenario,) = command.results().scenarios
    assert (scenario.verdict, scenario.reason) == ("error", "interrupted")
    assert scenario.checks == ()
    folder = command.folder / "tiny"
    assert (folder / "trials" / "tiny.r.1" / "rank-1.log").exists()
    assert list((folder / "wandb").glob("*/run-*.wandb"))
    assert "interrupted" in (folder / "timeline.log").read_text()
    assert "train.step" in (folder / "logs" / "sweep-worker.log").read_text()


def test_ctrl_c_while_the_evidence_of_a_finished_sweep_is_collected(
    cli: Start, tiny: Write
) -> None:
    command = cli("run", tiny(), *ENGINE)
    command.event("rollout.finished", node_rank=0)

    command.interrupt()

    interrupted(command)
    assert [each.status for each in command.results().scenarios[0].trials] == ["completed"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_pattern_is_matched_that_takes_for_ever(
    cli: Start, tmp_path: Path, number: signal.Signals
) -> None:
    # Each of them would take its five seconds.
    patterns = "".join(f", {{log: {{lacks: '^({'a' * more}+)+$'}}}}" for more in range(1, 101))
    scenario = tmp_path / "redos.yaml"
    scenario.write_text(
        "version: 1\nname: redos\nworkload: {run: 'python3 -c \"print(chr(97)*40+chr(33))\"'}\n"
        f"expect: [{{log: {{contains: a}}}}{patterns}]\n"
    )
    command = cli("run", scenario, *ENGINE)
    command.eventually(lambda: command.mine("matching_process"), "a pattern that is matched")

    command.interrupt(number)

    interrupted(command)
    first, *others, _ = command.results().scenarios[0].checks
    assert first.verdict == "passed"
    assert {each.verdict for each in others} == {"inconclusive"}
    assert others[-1].detail == "the check was not done when the run was interrupted"


def test_ctrl_c_through_nox(cli: Start, tiny: Write) -> None:
    noxfile = Path("noxfile.py").resolve()
    nox = (sys.executable, "-m", "nox", "-f", str(noxfile), "-s", "sandbox", "--no-venv")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = cli(
        *(tiny(steps=None), *ENGINE),
        program=(*nox, "--no-install", "--"),
        PATH=path,
    )
    command.event("train.step")

    command.interrupt_group()

    # Newer ones hand on that they were interrupted.
    interrupted(command, 1, 130)


@pytest.mark.slow  # leftovers kill runs, too
def test_what_a_killed_run_left_goes_with_the_next_and_a_neighbour_stays(
    cli: Start, tiny: Write
) -> None:
    scenario = tiny(steps=None)
    neighbour, victim = cli("run", scenario, *ENGINE), cli("run", scenario, *ENGINE)
    for each in (neighbour, victim):
        each.event("train.step")
    victim.interrupt(signal.SIGKILL)
    victim.wait()
    assert victim.left() != []

    following = cli("run", scenario, *ENGINE)
    following.says(f"removed what the run {victim.run} left behind")

    assert victim.left() == []
    heard = len(neighbour.entries())
    neighbour.eventually(lambda: len(neighbour.entries()) > heard, "the neighbour goes on")
    assert neighbour.run not in following.text
    for each in (following, neighbour):
        each.interrupt(signal.SIGTERM)
    for each in (following, neighbour):
        interrupted(each)
