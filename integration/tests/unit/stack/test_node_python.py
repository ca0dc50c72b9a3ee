from __future__ import annotations

import sys
from pathlib import Path

import pytest

from metta_sandbox.errors import MachineError
from metta_sandbox.stack import node_python


def test_this_interpreter_serves_where_it_has_all_that_nodes_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(node_python, "MODULES", ("json",))
    said: list[str] = []

    assert node_python.find_python(said.append) == sys.executable
    assert said == []


def test_another_python_on_the_path_serves_where_this_one_is_too_new(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "python3.12"
    other.touch(0o755)
    monkeypatch.setattr(node_python.sys, "version_info", _Version(3, 13))
    monkeypatch.setenv("PATH", str(tmp_path))

    assert node_python.suitable_python() == (str(other), "3.12")


def test_without_a_suitable_python_it_is_said_which_would_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(node_python.sys, "version_info", _Version(3, 13))
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(MachineError, match=r"need Python 3.11 or 3.12 .*this is 3.13") as error:
        node_python.suitable_python()
    assert "Docker" in error.value.hint


class _Version:
    def __init__(self, major: int, minor: int) -> None:
        self.major, self.minor = major, minor
