from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from metta_sandbox.errors import MachineError
from metta_sandbox.progress import Progress
from metta_sandbox.resources import package_folder
from metta_sandbox.stack.engines.process import node_python


def test_this_interpreter_serves_where_it_has_all_that_nodes_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(node_python, "MODULES", ("json",))
    said: list[str] = []

    assert node_python.find_python(said.append) == sys.executable
    assert said == []


def test_an_environment_made_for_nodes_has_this_copy_of_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def make_bare(python: str, folder: Path, _: object, progress: Progress) -> None:
        progress("making it")
        subprocess.run([python, "-m", "venv", "--without-pip", str(folder)], check=True)

    monkeypatch.setattr(node_python, "MODULES", ("no_such_module",))
    monkeypatch.setattr(node_python, "_make", make_bare)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    said: list[str] = []

    python = node_python.find_python(said.append)

    look = "import os, metta_sandbox; print(os.path.realpath(metta_sandbox.__path__[0]))"
    done = subprocess.run([python, "-c", look], capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == package_folder().resolve()
    assert node_python.find_python(said.append) == python
    assert said.count("making it") == 1


def test_another_python_on_the_path_serves_where_this_one_is_too_new(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "python3.12"
    other.touch(0o755)
    monkeypatch.setattr(sys, "version_info", _Version(3, 13))
    monkeypatch.setenv("PATH", str(tmp_path))

    assert node_python.suitable_python() == (str(other), "3.12")


def test_without_a_suitable_python_it_is_said_which_would_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "version_info", _Version(3, 13))
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(MachineError, match=r"need Python 3.11 or 3.12 .*this is 3.13") as error:
        node_python.suitable_python()
    assert "Docker" in error.value.hint


class _Version:
    def __init__(self, major: int, minor: int) -> None:
        self.major, self.minor = major, minor
