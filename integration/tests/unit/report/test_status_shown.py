"""How a standing stack's state is shown."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from metta_sandbox.report.status import LogPrinter, show_status, status_json
from metta_sandbox.stack.engines.view import StackLogLine, StackMember
from metta_sandbox.stack.status import StackStatus

WELL = StackMember(
    name="metta-sweep-master",
    host="sweep-master",
    rank=0,
    state="running",
    health="healthy",
    address="10.0.0.2",
    running=("sweep", "trial-2 (rank 0)"),
    image="metta-sandbox-node:abc",
    age=125.0,
)


def shown(*parts: StackMember) -> str:
    out = io.StringIO()
    show_status(StackStatus("compose", parts), Console(file=out, width=160))
    return out.getvalue()


def test_a_line_tells_all_of_a_container() -> None:
    (line,) = shown(WELL).splitlines()[1:]
    for word in (
        "metta-sweep-master", "running (healthy)", " 0 ", "10.0.0.2", "sweep, trial-2 (rank 0)",
        "metta-sandbox-node:abc", "2m",
    ):  # fmt: skip
        assert word in line


@pytest.mark.parametrize(
    ("part", "ill"),
    [
        (StackMember("metta-hub", "hub", None, "exited"), "metta-hub is exited"),
        (StackMember("metta-hub", "hub", None, "missing"), "metta-hub is missing"),
        (StackMember("metta-x", "x", 1, "paused"), "metta-x is paused"),
        (StackMember("metta-x", "x", 1, "running", "silent"), "metta-x is silent"),
        (StackMember("metta-x", "x", 1, "running", "unhealthy"), "metta-x is unhealthy"),
    ],
)
def test_what_is_ill_is_said(part: StackMember, ill: str) -> None:
    assert f"! {ill}" in shown(WELL, part)
    status = StackStatus("compose", (WELL, part))
    assert not status.well
    assert json.loads(status_json(status))["well"] is False


def test_a_stack_that_is_well() -> None:
    status = StackStatus("compose", (WELL, StackMember("api", "api", None, "running", "starting")))
    assert status.well
    told = json.loads(status_json(status))
    assert told["version"] == 1
    assert told["parts"][0]["running"] == ["sweep", "trial-2 (rank 0)"]
    assert not StackStatus("", ()).well, "nothing is not well"


@pytest.mark.parametrize(("seconds", "age"), [(3, "3s"), (90, "2m"), (7200, "2h"), (2e5, "2d")])
def test_ages(seconds: float, age: str) -> None:
    assert f" {age} " in f"{shown(StackMember('n', 'h', 0, 'running', age=seconds)).rstrip()} "


def test_log_lines_are_coloured_on_a_terminal_only_and_left_alone() -> None:
    line = StackLogLine("dummy-api", '{"event": "[red]x[/red]"}' + "y" * 300)
    for terminal in (True, False):
        out = io.StringIO()
        console = Console(file=out, force_terminal=terminal, width=80)
        LogPrinter(("sweep-master", "dummy-api"), console).show(line)
        assert ("\x1b[" in out.getvalue()) is terminal
        assert line.text in out.getvalue()
        assert out.getvalue().count("\n") == 1
    assert out.getvalue().startswith("dummy-api    | {")
