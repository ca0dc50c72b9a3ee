"""Whom a word means, and logs in one order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from metta_sandbox.errors import InputError
from metta_sandbox.stack import look, standing_record
from metta_sandbox.stack.engines.compose.view import DockerLogs
from metta_sandbox.stack.standing_record import StandingRecord

RECORD = StandingRecord(
    engine="process",
    hosts=("sweep-master", "sweep-worker", "sweep-worker-2"),
    hardware="macbook",
    source=None,
    python="/python",
)


@pytest.mark.parametrize(
    ("word", "host"),
    [
        ("sweep-worker", "sweep-worker"),
        ("metta-sweep-worker", "sweep-worker"),
        ("0", "sweep-master"),
        ("2", "sweep-worker-2"),
        ("dummy-api", "dummy-api"),
        ("metta-dummy-api", "dummy-api"),
    ],
)
def test_a_host_goes_by_many_names(word: str, host: str) -> None:
    assert look.host_named(RECORD, word) == host


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("sweep-wroker", "sweep-worker"),
        ("wroker", "sweep-worker"),
        ("master", "sweep-master"),
        ("api", "dummy-api"),
        ("metta-sweep-workr-2", "sweep-worker-2"),
    ],
)
def test_the_nearest_is_named(word: str, near: str) -> None:
    with pytest.raises(InputError, match=f"did you mean {near}?"):
        look.host_named(RECORD, word)


@pytest.mark.parametrize("word", ["zzz", "3", "-1", ""])
def test_else_all_are(word: str) -> None:
    with pytest.raises(InputError, match=r"sweep-master, sweep-worker"):
        look.host_named(RECORD, word)


def test_no_shell_is_opened_on_the_control_plane() -> None:
    with pytest.raises(InputError, match="has no dummy-api"):
        look.host_named(RECORD, "dummy-api", nodes_only=True)


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    folder = standing_record.standing_folder() / "logs"
    folder.mkdir(parents=True)
    return folder


def event(wall: float) -> str:
    return f'{{"event": "train.step", "seq": 1, "wall": {wall}}}\n'


def test_logs_of_local_processes_are_in_one_order(logs: Path) -> None:
    (logs / "sweep-master.log").write_text(f"first\n{event(99.5)}a\n{event(101.5)}c\nhalf")
    (logs / "sweep-worker.log").write_text(f"{event(100.25)}b\n")
    lines = look.read_logs(RECORD, RECORD.hosts, follow=False)
    assert [line.text for line in lines if "event" not in line.text] == ["first", "a", "b", "c"]


def test_following_gives_each_line_once(logs: Path) -> None:
    path = logs / "sweep-master.log"
    path.write_text("1\n")
    lines = look.read_logs(RECORD, ("sweep-master",), follow=True)
    assert next(lines).text == "1"
    with path.open("a") as file:
        file.write("2\nhalf")
    assert next(lines).text == "2"
    with path.open("a") as file:
        file.write(" whole\n")
    assert next(lines).text == "half whole"


class FakeDocker:
    """``docker logs`` as a script over a file of stamped lines."""

    SCRIPT = """#!/usr/bin/env python3
import sys, time
since = next((w.partition("=")[2] for w in sys.argv if w.startswith("--since")), "")
for line in open(sys.argv[-1].replace("metta-", "{folder}/")):
    if line.split()[0] >= since:
        print(line, end="", flush=True)
"""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        program = folder / "docker"
        program.write_text(self.SCRIPT.replace("{folder}", str(folder)))
        program.chmod(0o755)

    def log(self, host: str, *lines: str) -> None:
        with (self.folder / host).open("a") as file:
            file.writelines(f"{line}\n" for line in lines)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDocker:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return FakeDocker(tmp_path)


def test_containers_logs_are_in_one_order_and_following_skips_and_repeats_none(
    fake: FakeDocker,
) -> None:
    stamp = "2026-01-01T00:00:0{}.000000000Z".format
    fake.log("a", f"{stamp(1)} one", f"{stamp(3)} three", f"{stamp(3)} three again")
    fake.log("b", f"{stamp(2)} two")
    logs = DockerLogs(("a", "b"))
    assert [line.text for line in logs.merged()] == ["one", "two", "three", "three again"]
    fake.log("a", f"{stamp(3)} still three", f"{stamp(4)} four")
    fake.log("b", f"{stamp(5)} five")
    came = [line.text for line in logs.coming()]
    assert sorted(came) == ["five", "four", "still three"]


def test_only_a_newline_ends_a_line(fake: FakeDocker, logs: Path) -> None:
    stamp = "2026-01-01T00:00:01.000000000Z"
    (fake.folder / "docker").write_text(f"#!/bin/sh\nprintf '{stamp} a\\rb c\\302\\205d\\n'\n")
    assert [line.text for line in DockerLogs(("a",)).merged()] == ["a\rb c\x85d"]
    (logs / "sweep-master.log").write_bytes("a\rb c\x85d\n".encode())
    lines = look.read_logs(RECORD, ("sweep-master",), follow=False)
    assert [line.text for line in lines] == ["a\rb c\x85d"]


def test_a_reader_that_leaves_ends_the_clients(fake: FakeDocker) -> None:
    (fake.folder / "docker").write_text(
        "#!/bin/sh\necho 2026-01-01T00:00:01.000000000Z x\nexec sleep 600\n"
    )
    logs = DockerLogs(("a",))
    coming = logs.coming()
    assert next(coming).text == "x"
    (client,) = logs._clients
    logs.close()
    assert client.wait(timeout=10) == -9
    assert not list(coming)
