"""A trainer that puts links to a file of the caller's, and worse, where the sandbox reads."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from python_on_whales import DockerClient
from ruamel.yaml import YAML

if TYPE_CHECKING:
    from tests.integration.play.conftest import Command, Start

SECRET = "only-for-the-caller"
TRAINER = """
import os, socket, time
trial, run = os.environ["METTA_TRIAL_DIR"], os.environ["METTA_RUN_FOLDER"]
names = ["rank-0.log", "rank-1.log", "trial.json", "checkpoint.pt", "autopsy-0.json",
         "launcher-0.log", "rank-0.digest", "flight-0.json"]
paths = [os.path.join(trial, name) for name in names]
paths += [os.path.join(run, name) for name in ("observations.jsonl", "scenario.yaml", ".probe")]
if os.environ.get("RANK") == "0":
    for path in paths:
        if os.path.lexists(path):
            os.unlink(path)
        os.symlink(SECRET_FILE, path)
    os.symlink("/", os.path.join(trial, "root"))
    os.symlink("/", os.path.join(run, "root"))
    os.mkfifo(os.path.join(run, "pipe"))
    os.mkfifo(os.path.join(trial, "rank-9.log"))
    os.chdir(run)
    socket.socket(socket.AF_UNIX).bind("socket")
    with open("huge", "wb") as file:
        file.truncate(5 << 30)
    for _ in range(200):
        os.mkdir("deep")
        os.chdir("deep")
time.sleep(1)
raise SystemExit(os.environ.get("RANK") == "0")
"""


def struck(folder: Path, start: Start, *words: str) -> tuple[Command, Path]:
    """Play it; give the command, and the scenario's folder."""
    secret = folder / "secret" / "file"
    secret.parent.mkdir(mode=0o700)
    secret.write_text(f"Traceback (most recent call last):\nValueError: {SECRET}\n")
    secret.chmod(0o600)
    (folder / "code").mkdir()
    (folder / "code" / "t.py").write_text(TRAINER.replace("SECRET_FILE", repr(str(secret))))
    trainer = {"command": ["python", "t.py"], "launcher": "plain", "score": {"source": "none"}}
    said = {
        "version": 1,
        "name": "struck",
        "sweep": {"strategy": "random", "trials": 1, "metric": "x"},
        "workload": {"folder": "code", "trainer": trainer},
        "expect": [{"log": {"lacks": "nothing of it"}}, {"checkpoint": "present"}],
    }
    file = folder / "struck.yaml"
    YAML(typ="safe", pure=True).dump(said, file)
    command = start("run", file, *words)
    command.wait(300)
    return command, command.folder / "struck"


def holds(command: Command, folder: Path) -> None:
    text = command.text
    assert SECRET not in text
    assert "left out of the artifacts: " in text
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        assert stat.S_ISDIR(mode) or stat.S_ISREG(mode), path
        assert path.lstat().st_size < 1 << 30, path
    for path in (each for each in folder.parent.rglob("*") if each.is_file()):
        assert SECRET.encode() not in path.read_bytes(), path
    (result,) = command.results().scenarios
    told = {one.file: one.why for one in result.left_out.files}
    links = ("shared/root", "shared/observations.jsonl", "shared/scenario.yaml")
    assert {told[name] for name in links} == {"a symbolic link"}
    assert told["shared/pipe"] == "a pipe"
    assert told["shared/socket"] == "a socket"
    assert told["shared/huge"] == "too large: artifacts.size is 4GiB"
    assert told["trials/struck.r.1/root"] == "a symbolic link"
    assert "too deep" in told.values()


def test_local_processes_lead_nobody_to_files_of_the_caller(tmp_path: Path, cli: Start) -> None:
    holds(*struck(tmp_path, cli, "--engine", "process"))


@pytest.mark.slow
def test_containers_lead_nobody_to_files_of_the_caller(
    docker: DockerClient,  # noqa: ARG001 - marks it
    tmp_path: Path,
    cli: Start,
) -> None:
    holds(*struck(tmp_path, cli, "--engine", "compose"))
