"""The README's table for users of the old sandbox: every row can be typed as it stands."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from .conftest import User, containers, docker

ROOT = Path(__file__).parents[4]
TABLE = re.search(
    r"## You used to type, now type\n\n(.*?)\n\n", (ROOT / "README.md").read_text(), re.DOTALL
)
#: What stands in the right column, row by row, with what may follow it in parentheses.
ROWS = [line.split(" | ")[1] for line in TABLE[1].splitlines()[2:]] if TABLE else []


def _typed(row: str) -> list[str]:
    """List the Nox commands of a row: the one named first, and it with each of the options."""
    first, *others = re.findall(r"`([^`]+)`", row)
    return [first, *(f"{first} {other}" for other in others if other.startswith("-- "))]


def _nox(user: User, command: str, stdin: str = "", *more: str) -> tuple[int, str]:
    words = shlex.split(command)
    assert words[0] == "nox"
    posargs = words[words.index("--") + 1 :] if "--" in words else []
    session = words[words.index("-s") + 1]
    nox = (sys.executable, "-m", "nox", "-f", str(ROOT / "noxfile.py"), "-s", session)
    # The tester's own environment serves, so that nothing is installed again for each row.
    done = subprocess.run(
        [*nox, "--no-venv", "--no-install", "--", *posargs, *more],
        env={
            **user.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    return done.returncode, done.stdout


def test_every_row_can_be_typed(user: User) -> None:
    up, launch, status, logs, shell, stop, sandbox = ROWS
    try:
        code, said = _nox(user, _typed(up)[0])
        assert code == 0, said

        command = _typed(launch)[0].replace("…", "arena/random")
        code, said = _nox(user, command, "", "--artifacts", str(user.folder / "artifacts"))
        assert code == 0, said
        assert "test.r.1" in said

        code, said = _nox(user, _typed(status)[0])
        assert code == 0, said
        assert "sweep-worker" in said

        code, said = _nox(user, _typed(logs)[0])
        assert code == 0, said
        assert "handoff.received" in said
        assert _nox(user, "nox -s logs -- sweep-worker")[0] == 0

        for command in _typed(shell):
            code, said = _nox(user, command, "echo on node $NODE_INDEX; exit\n")
            assert code == 0, said
            assert f"on node {int('worker' in command)}" in said

        if user.engine == "compose":
            assert "handoff.received" in docker("logs", "metta-sweep-master")
            assert {"metta-sweep-master", "metta-sweep-worker"} <= set(containers())
            assert docker("exec", "metta-sweep-worker", "bash", "-c", "echo $NODE_INDEX") == "1\n"
    finally:
        code, said = _nox(user, _typed(stop)[0])
    assert code == 0, said
    assert not user.left()
    listed = subprocess.run(
        [sys.executable, "-m", "nox", "-f", str(ROOT / "noxfile.py"), "--list"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.search(rf"[*-] {_typed(sandbox)[0].split()[-1]} ", listed), listed
