"""The base image with what cluster images have: a name of its own, and a sudo that says no."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from metta_sandbox.image.debian_base import _SUDO, CLUSTER_PACKAGES, DebianBase


def test_it_has_more_packages_and_another_name() -> None:
    plain, cluster = DebianBase("amd64"), DebianBase("amd64", cluster=True)
    command = cluster.command(Path("root.tar"), ["mirror"], [])
    (included,) = (word for word in command if word.startswith("--include="))

    assert plain.tag != cluster.tag
    assert {*CLUSTER_PACKAGES} <= {*included.removeprefix("--include=").split(",")}
    assert any("/usr/local/bin/sudo" in word for word in command)
    assert not any("sudo" in word for word in plain.command(Path("root.tar"), ["mirror"], []))


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["echo", "hi"], 0, "hi\n"),
        (["-E", "-n", "echo", "hi"], 0, "hi\n"),
        (["false"], 1, ""),
        (["apt-get", "update"], 1, ""),
    ],
)
def test_sudo_runs_a_command_as_the_nodes_user(
    tmp_path: Path, words: list[str], status: int, said: str
) -> None:
    (tmp_path / "sudo").write_text(_SUDO)
    done = subprocess.run(
        ["sh", str(tmp_path / "sudo"), *words], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (status, said)
    assert ("apt-get is not run" in done.stderr) == ("apt-get" in words)
