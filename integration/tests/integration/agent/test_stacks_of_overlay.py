"""py-spy where nodes run in an environment that was made over another one, as users' do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from metta_sandbox.autopsy.seen import NodeLook
from metta_sandbox.image import overlay
from metta_sandbox.probes import source
from metta_sandbox.resources import package_folder
from metta_sandbox.stack.agent_app import install

_STANDS = """\
import sys

def stands():
    print(flush=True)
    sys.stdin.readline()

stands()
"""


@pytest.fixture
def python(tmp_path: Path) -> str:
    """Make an environment over this one, as ``node_python`` does over the nodes' own."""
    over = tmp_path / "over"
    make = [sys.executable, overlay.__file__, str(over)]
    subprocess.run([*make, f"--besides={package_folder()}"], check=True)
    subprocess.run([*make, "--scripts"], check=True)
    assert not (over / "bin" / "py-spy").exists()
    return str(over / "bin" / "python")


def test_stacks_are_read(python: str, tmp_path: Path) -> None:
    app = install(tmp_path / "app")
    node = {
        "PATH": os.defpath,
        "METTA_EVENTS": f"/{tmp_path}",
        "METTA_RUN_FOLDER": str(tmp_path),
        "METTA_AGENT": str(app),
    }
    program = subprocess.Popen(
        [python, "-c", _STANDS],
        env=node,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout is not None
        program.stdout.readline()
        # As it is sent to a node.
        probe = [python, "-c", source("look_at_processes"), "seen.json", str(program.pid)]
        subprocess.run(probe, env=node, check=True)
    finally:
        program.communicate("\n")
    seen = NodeLook.model_validate_json((tmp_path / "seen.json").read_bytes())

    assert seen.stacks_problem == ""
    stands = seen.process(program.pid)
    assert stands is not None
    assert stands.main is not None
    assert [one.function for one in stands.main.frames] == ["stands", "<module>"]


def test_the_doctor_tries_it(python: str) -> None:
    command = [python, "-m", "metta_sandbox.node.agent.stacks"]
    environ = {"PATH": os.defpath}
    said = subprocess.run(command, env=environ, check=True, capture_output=True, text=True)
    assert said.stdout == "\n"
