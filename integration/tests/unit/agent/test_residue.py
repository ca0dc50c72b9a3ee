"""What is left in folders, and by the kernel: found, and removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from metta_sandbox.node.agent.container_init.residue import (
    clear,
    different,
    facts,
    manners,
    open_ports,
    shared_objects,
)

HEAD = "  sl  local_address rem_address   st\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    (folder / "own").mkdir(parents=True)
    (folder / ".profile").write_text("as it was")
    (folder / "own" / "note").write_text("as it was")
    return folder


def test_what_came_goes_and_what_was_stays(home: Path) -> None:
    places = [str(home)]
    known = facts(places)
    (home / "new").write_text("x")
    (home / "own" / "new").write_text("x")
    (home / "link").symlink_to("/etc")
    (home / "locked" / "inner").mkdir(parents=True)
    (home / "locked" / "inner" / "file").write_text("x")
    (home / "locked" / "inner").chmod(0)
    (home / "locked").chmod(0)
    (home / "spared").write_text("x")
    spared = {str(home / "spared")}

    clear(places, known, spared)

    assert different(known, facts(places), spared) == []
    assert sorted(path.name for path in home.rglob("*")) == [".profile", "note", "own", "spared"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda home: (home / ".profile").write_text("as it is not"), ".profile"),
        (lambda home: (home / ".profile").chmod(0o600), ".profile"),
        (lambda home: (home / ".profile").unlink(), ".profile"),
        (lambda home: home.chmod(0o711), ""),
        (lambda home: os.setxattr(home / "own", "user.planted", b"x"), "own"),
    ],
)
def test_what_was_changed_is_told(home: Path, change: object, told: str) -> None:
    places = [str(home)]
    known = facts(places)
    assert callable(change)
    try:
        change(home)
    except OSError:
        pytest.skip("this file system has no attributes")

    clear(places, known, set())

    assert different(known, facts(places), set()) == [str(home / told) if told else str(home)]


def test_ports_that_cannot_be_had_now_are_told(tmp_path: Path) -> None:
    lines = [
        "0: 00000000:1F48 00000000:0000 0A",  # 8008 is listened on
        "1: 0100007F:1F49 0100007F:9C40 06",  # 8009 is kept for a while
        "2: 0100007F:EA60 0100007F:1F49 06",  # one that the kernel chose
        "3: 0100007F:EA61 00000000:0000 0A",  # one that it chose, to listen
    ]
    (tmp_path / "tcp").write_text(HEAD + "\n".join(lines) + "\n")
    (tmp_path / "udp").write_text(HEAD + "0: 0100007F:EA62 00000000:0000 07\n")
    assert open_ports(str(tmp_path)) == {
        ("tcp", 8008),
        ("tcp", 8009),
        ("tcp", 0xEA61),
        ("udp", 0xEA62),
    }


def test_shared_memory_is_told(tmp_path: Path) -> None:
    (tmp_path / "shm").write_text("key shmid\n0 1\n")
    (tmp_path / "sem").write_text("key semid\n")
    assert shared_objects(str(tmp_path)) == ["shm"]


def test_how_a_process_is_run_is_the_same_until_somebody_changes_it() -> None:
    assert manners(os.getpid()) == manners(os.getpid())
    pid = os.fork()
    if pid == 0:
        os.nice(5)
        os._exit(int(manners(os.getpid()) == manners(os.getppid())))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert manners(pid) is None
