"""The script of a task does what bash does under SkyPilot."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from metta_sandbox.skypilot.script import carried, command, script
from metta_sandbox.skypilot.variables import ADDITIONS

SAID = {"A": "x y", "B": 'q\'uote "d" $HOME', "EMPTY": ""}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "sky_workdir").mkdir()
    (tmp_path / ".bashrc").write_text(
        "[[ $- == *i* ]] || return\nA=rc\nFROM_RC=1\nalias hi='echo hey'\n"
    )
    return tmp_path


def play(
    home: Path, body: str, *, bare: bool = False, hook: str = "", **more: str
) -> tuple[int, str]:
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "METTA_RUN_FOLDER": "/run", **more}
    done = subprocess.run(
        command(script(body, list(SAID), bare=bare, hook=hook)),
        env={**env, "TMPDIR": str(home), **carried(SAID.items())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("false\necho after", 0, "after\n"),
        ("echo a; (exit 7)", 7, "a\n"),
        ("exit 5\necho never", 5, ""),
        ("set -e\nfalse\necho never", 1, ""),
        ("false | true", 0, ""),
        ("echo $FROM_RC $A", 0, "1 x y\n"),
        ("hi", 0, "hey\n"),
        ('echo "$B$EMPTY"', 0, 'q\'uote "d" $HOME\n'),
        ("echo $PYTHONUNBUFFERED", 0, "1\n"),
        ("basename $PWD", 0, "sky_workdir\n"),
        ("read line || echo nothing", 0, "nothing\n"),
        ("echo out; echo err >&2", 0, "out\nerr\n"),
        ("trap 'echo bye' EXIT; exit 2", 2, "bye\n"),
        ("echo a # said last", 0, "a\n"),
        ("env | grep -c METTA_TASK_", 1, "0\n"),
    ],
)
def test_bash_does_as_under_skypilot(home: Path, body: str, status: int, said: str) -> None:
    assert play(home, body) == (status, said)


def test_an_environment_of_the_nodes_own_is_active(home: Path) -> None:
    (home / "sky-user-env" / "bin").mkdir(parents=True)
    (home / "sky-user-env" / "bin" / "activate").write_text("export VIRTUAL_ENV=mine\n")

    assert play(home, "echo $VIRTUAL_ENV", VIRTUAL_ENV="image")[1] == "mine\n"


def test_what_is_ours_comes_after_the_tasks_own(home: Path) -> None:
    assert play(home, "echo $WANDB_DIR $HOOKED", hook="export HOOKED=1")[1] == "/run 1\n"


def test_bare_takes_all_of_it_away(home: Path) -> None:
    names = [one.name for one in ADDITIONS]
    more = {name: "ours" for name in names if name != "METTA_RUN_FOLDER"}
    status, said = play(home, "env | cut -d= -f1", bare=True, hook="export METTA_HOOK=1", **more)

    assert status == 0
    assert not {*names} & {*said.splitlines()}


def test_bare_leaves_a_tasks_own_variable_of_such_a_name(home: Path) -> None:
    body = script("echo $WANDB_MODE", ["WANDB_MODE"], bare=True, hook="")
    done = subprocess.run(
        command(body),
        env={"PATH": os.environ["PATH"], "HOME": str(home), **carried([("WANDB_MODE", "online")])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == "online\n"


def test_no_value_stands_in_the_script() -> None:
    assert "secret" not in " ".join(command(script("run", ["A"], bare=False, hook="")))
