from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from metta_sandbox.node.agent.fork_server.spawn import misfit


def case(tmp_path: Path, **changes: Any) -> str:
    home = tmp_path / "home"
    home.mkdir()
    environ = {"HOME": str(home), "TMPDIR": str(home / "tmp"), "OMP_NUM_THREADS": "1", "MINE": "1"}
    theirs = {"OMP_NUM_THREADS": "1", "HOME": "/template"}
    template = {
        "refusal": "",
        "fixed": "",
        "interpreter": sys.executable,
        "environ": theirs,
        "cwd": "/template",
    }
    if changes.pop("local", False):
        (home / ".local").mkdir()
    given = {"interpreter": sys.executable, "environ": environ, "cwd": str(home), **changes}
    if "env" in given:
        environ.update(given.pop("env"))
    template |= given.pop("template", {})
    return misfit(template, **given)


def test_a_fork_serves_where_it_is_what_would_be_started(tmp_path: Path) -> None:
    assert case(tmp_path) == ""


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"template": {"refusal": "an import left 1 threads"}}, "an import left 1 threads"),
        ({"template": {"fixed": "builtins.tuple"}}, "imports remember where they ran: builtins"),
        ({"interpreter": "/usr/bin/python9"}, "/usr/bin/python9 is another interpreter"),
        ({"env": {"PYTHONHASHSEED": "0"}}, "PYTHONHASHSEED counts at its start"),
        ({"env": {"OMP_NUM_THREADS": "2", "LD_PRELOAD": "x"}}, "LD_PRELOAD, OMP_NUM_THREADS"),
        ({"cwd": "/"}, "its home"),
        ({"env": {"TMPDIR": "/tmp"}}, "its home"),
        ({"env": {"HOME": ""}}, "its home"),
        ({"local": True}, "packages in its home"),
    ],
)
def test_where_it_would_not_be_it_says_why(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    assert told in case(tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({}, True),
        ({"cwd": "/elsewhere"}, False),
        ({"env": {"TMPDIR": "/elsewhere"}}, False),
        ({"env": {"HOME": "/elsewhere"}}, False),
    ],
)
def test_a_containers_own_seed_serves_where_it_stands_itself(
    tmp_path: Path, changes: dict[str, Any], fits: bool
) -> None:
    home = str(tmp_path / "home")
    theirs = {"HOME": home, "TMPDIR": f"{home}/tmp", "OMP_NUM_THREADS": "1"}
    template = {"environ": theirs, "cwd": "/mnt", "fixed": "builtins.tuple" if fits else ""}
    told = case(tmp_path, **{"template": template, "cwd": "/mnt", **changes})
    assert told == ("" if fits else "its folders are none of the template's")
