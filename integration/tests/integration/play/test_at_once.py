"""Scenarios beside each other: at once, one coming up behind another, and one after the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.play.conftest import Command, Start

ENGINE = ("--engine", "process")
#: Waits for a file, for at most a minute.
AWAIT = "n=0; until [ -e {0} ]; do n=$((n+1)); [ $n -lt 600 ] || exit 1; sleep 0.1; done"


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Write a scenario of one node that runs a command."""

    def write_one(name: str, command: str, **keys: Any) -> Path:
        folder = tmp_path / "files"
        folder.mkdir(exist_ok=True)
        said = {"version": 1, "name": name, "nodes": 1, "workload": {"run": command}, **keys}
        path = folder / f"{name}.yaml"
        path.write_text(json.dumps(said))
        return path

    return write_one


def verdicts(command: Command) -> list[tuple[str, str]]:
    return [(each.name, each.verdict.value) for each in command.results().scenarios]


def test_two_at_once_see_each_other_and_are_told_in_the_order_of_the_files(
    cli: Start, write: Any, tmp_path: Path
) -> None:
    # Each can only pass while the other works; the first ends last.
    first = f"touch {tmp_path}/one; {AWAIT.format(tmp_path / 'three')}"
    second = f"touch {tmp_path}/two; {AWAIT.format(tmp_path / 'one')}; exit 7"
    third = f"{AWAIT.format(tmp_path / 'two')}; touch {tmp_path}/three"
    write("a-first", first)
    write("b-second", second)
    write("c-third", third)

    command = cli("run", tmp_path / "files", "--jobs", "2", *ENGINE)

    assert command.wait() == 1, command.text
    assert verdicts(command) == [
        ("a-first", "passed"),
        ("b-second", "failed"),
        ("c-third", "passed"),
    ]
    told = [command.text.index(line) for line in ("PASSED a-f", "FAILED b-s", "PASSED c-t")]
    assert told == sorted(told)
    assert "· b-second: ready: sweep-master after" in command.text
    for name in ("a-first", "b-second", "c-third"):
        folder = command.folder / name
        assert "hub" in {each.stem for each in (folder / "logs").glob("*.log")}
        assert (folder / "timeline.log").exists()
    assert command.left() == []


def test_by_default_a_stack_comes_up_while_the_scenario_before_still_works(
    cli: Start, write: Any, tmp_path: Path
) -> None:
    write("a-first", f"{AWAIT.format(tmp_path / 'go')}; touch {tmp_path}/first-is-done")
    write("b-second", f"test -e {tmp_path}/first-is-done")

    command = cli("run", tmp_path / "files", "--jobs", "1", *ENGINE)
    command.says("b-second: ready: ")
    (tmp_path / "go").touch()

    assert command.wait() == 0, command.text
    # Waiting for the other is nobody's time.
    assert command.results().scenarios[1].seconds < command.results().seconds
    assert command.left() == []


def test_fresh_brings_a_stack_up_when_the_last_is_gone(
    cli: Start, write: Any, tmp_path: Path
) -> None:
    for name in ("a-first", "b-second"):
        write(name, "true")

    command = cli("run", tmp_path / "files", "--fresh", "--jobs", "1", *ENGINE)

    assert command.wait() == 0, command.text
    assert command.text.index("PASSED a-first") < command.text.index("scenario b-second (2 of 2)")


def test_one_that_cannot_come_up_takes_nothing_from_the_one_beside_it(
    cli: Start, write: Any, tmp_path: Path
) -> None:
    write("a-first", AWAIT.format(tmp_path / "go"))
    write("b-broken", "true", steady_state=[{"command": {"run": "false", "on": "sweep-master"}}])
    write("c-third", "true")

    command = cli("run", tmp_path / "files", "--jobs", "3", *ENGINE)
    command.says("b-broken: looking at the steady state")
    command.says("c-third: ready: ")
    (tmp_path / "go").touch()

    assert command.wait() == 1, command.text
    assert [verdict for _, verdict in verdicts(command)][::2] == ["passed", "passed"]
    assert verdicts(command)[1][1] != "passed"
    assert command.left() == []


def test_ctrl_c_ends_all_that_work_in_order_with_their_evidence(
    cli: Start, write: Any, tmp_path: Path
) -> None:
    for name in ("a-first", "b-second", "c-third"):
        write(name, f"echo {name} works; touch {tmp_path}/{name}; sleep 600")

    command = cli("run", tmp_path / "files", "--jobs", "2", *ENGINE)
    for name in ("a-first", "b-second"):
        command.eventually((tmp_path / name).exists, f"{name} at work")
    command.says("c-third: ready: ")
    command.interrupt()

    assert command.wait() == 130, command.text
    assert "Traceback" not in command.text
    assert (command.results().verdict, command.results().reason) == ("error", "interrupted")
    assert [each.reason for each in command.results().scenarios] == ["interrupted"] * 3
    for name in ("a-first", "b-second"):
        timeline = (command.folder / name / "timeline.log").read_text()
        assert f"{name} works" in timeline
        assert "interrupted" in timeline
    assert not (tmp_path / "c-third").exists()
    assert command.left() == []


@pytest.mark.parametrize("said", ["0", "-1", "many"])
def test_jobs_are_a_number_or_auto(cli: Start, write: Any, said: str) -> None:
    command = cli("run", write("a-first", "true"), f"--jobs={said}", *ENGINE)
    assert command.wait() == 2
    assert "neither auto nor a number from 1" in command.text
