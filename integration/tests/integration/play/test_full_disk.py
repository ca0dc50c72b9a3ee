"""A full disk of a node that is a container: what it is answered, and that nothing is lost."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from python_on_whales import DockerClient

if TYPE_CHECKING:
    from tests.integration.play.conftest import Command, Start

#: The worker writes until it can't; both say what they see of the folder that they share.
WRITING = """\
version: 1
name: tiny
longest_silence: 10m
workload:
  run: |
    python -u - <<'END'
    import errno, os, pathlib, time
    shared = pathlib.Path(os.environ["METTA_RUN_FOLDER"])
    if os.environ["NODE_INDEX"] == "0":
        number = 0
        while not (shared / "over").exists():
            number += 1
            (shared / "others").write_text(str(number))
            time.sleep(0.1)
        raise SystemExit
    mine, kept = shared / "mine", "all that is mine"
    mine.write_text(kept)
    def refused(act):
        try:
            act()
        except OSError as error:
            return errno.errorcode[error.errno]
        return "done"
    def others():
        return (shared / "others").read_text()
    while not (shared / "others").exists():
        time.sleep(0.05)
    print("all is there")
    while refused(lambda: (shared / "new").write_text("new")) == "done":
        time.sleep(0.05)
    for name, act in (
        ("new", lambda: (shared / "newer").write_text("new")),
        ("more", lambda: mine.open("a").write("more")),
        ("less", lambda: mine.open("w")),
        ("gone", mine.unlink),
        ("named", lambda: mine.rename(shared / "yours")),
        ("folder", (shared / "folder").mkdir),
    ):
        print("refused:", name, refused(act))
    assert mine.read_text() == kept
    seen = others()
    while others() == seen:
        time.sleep(0.05)
    print("the worker sees what others write")
    while refused(lambda: (shared / "over").write_text("")) != "done":
        time.sleep(0.05)
    print("there is room again")
    END
faults:
  - {disk_full: {node: sweep-worker}, when: {log: all is there, on: sweep-worker}UNTIL}
"""
HEALED = ", until: {log: sees what others, on: sweep-worker}"


def lines(command: Command) -> list[str]:
    return [entry["line"] for entry in command.entries() if "line" in entry]


def test_whatever_a_node_changes_there_is_refused_until_there_is_room_again(
    cli: Start, tmp_path: Path, docker: DockerClient
) -> None:
    scenario = tmp_path / "tiny.yaml"
    scenario.write_text(WRITING.replace("UNTIL", HEALED))
    command = cli("run", scenario, "--engine", "compose")

    assert command.wait(600) == 0, command.text
    assert [line for line in lines(command) if line.startswith("refused: ")] == [
        f"refused: {what} ENOSPC" for what in ("new", "more", "less", "gone", "named", "folder")
    ]
    (fault,) = command.results().scenarios[0].faults
    assert fault.proven, fault
    assert "during: 0 bytes are free on sweep-worker, where a file is refused" in fault.proof
    assert (command.folder / "tiny" / "shared" / "mine").read_text() == "all that is mine"
    assert not command.left(docker)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_what_fills_a_disk_ends_with_the_harness(
    cli: Start, tmp_path: Path, docker: DockerClient, number: int
) -> None:
    scenario = tmp_path / "tiny.yaml"
    scenario.write_text(WRITING.replace("UNTIL", ""))
    command = cli("run", scenario, "--engine", "compose")
    command.says("fault disk-full: ", 300)
    command.eventually(lambda: "the worker sees what others write" in lines(command), "a full disk")
    assert command.process.poll() is None, command.text

    def beside() -> list[str]:
        # Asked for by name alone: one may vanish while it is looked at.
        look = [*docker.docker_cmd, "ps", "--all", "--format={{.Names}}"]
        ours = f"--filter=label=dev.metta-sandbox.run={command.run}"
        names = subprocess.run([*look, ours], capture_output=True, text=True, check=True).stdout
        return [name for name in names.split() if name.endswith("-disk")]

    assert len(beside()) == 1
    command.interrupt(number)
    command.eventually(lambda: not beside(), "nobody beside the node")
    command.wait()
    if number == signal.SIGINT:
        (fault,) = command.results().scenarios[0].faults
        assert fault.proven, fault
        assert "; after: " in fault.proof
    else:
        clean = [sys.executable, "-m", "metta_sandbox", "clean"]
        subprocess.run(clean, env=command.env, check=True, capture_output=True, timeout=120)
    assert not command.left(docker)
    assert (command.folder / "tiny" / "shared" / "mine").read_text() == "all that is mine"
