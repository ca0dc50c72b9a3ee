"""Leases: live ones are left alone, dead ones reaped once, whatever else happens meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from metta_sandbox.errors import MachineError
from metta_sandbox.stack.lease import LABEL, Owner, lease, leases_folder, reap

Hold = Callable[[str], "subprocess.Popen[str]"]

#: Takes a lease in another process, says so, and keeps it until its standard input ends.
_HOLDER = """
import sys
from pathlib import Path
from metta_sandbox.stack.lease import Owner, lease
with lease(Owner(sys.argv[2]), Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Hold]:
    """Start processes that hold leases."""
    started = []

    def hold(run: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", _HOLDER, str(tmp_path), run],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.communicate()


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def _must_not(run: str) -> None:
    raise AssertionError(f"{run} was to be left alone")


def test_a_lease_tells_its_owner_and_goes_with_it(tmp_path: Path) -> None:
    with lease(Owner("run-1"), tmp_path) as owner:
        told = json.loads((tmp_path / "run-1.json").read_text())
        assert told == {
            "run": "run-1",
            "kind": "run",
            "boot": owner.boot,
            "pid": os.getpid(),
            "started": owner.started,
            "namespace": owner.namespace,
            "machine": owner.machine,
            "leases": owner.leases,
        }
    assert _names(tmp_path) == []


def test_a_home_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    leases = tmp_path / "file" / "leases"
    with pytest.raises(MachineError, match=r"nothing can be kept in .*: Not a directory"):
        reap(_must_not, leases)
    with pytest.raises(MachineError, match="HOME"), lease(Owner("run-1"), leases):
        pass


def test_labels_carry_run_kind_boot_pid_and_start_time() -> None:
    owner = Owner(
        "run-1",
        kind="standing",
        boot="b",
        pid=7,
        started=9,
        namespace="4",
        machine="m",
        leases="/l",
    )
    assert owner.labels() == {
        f"{LABEL}.run": "run-1",
        f"{LABEL}.kind": "standing",
        f"{LABEL}.boot": "b",
        f"{LABEL}.pid": "7",
        f"{LABEL}.started": "9",
        f"{LABEL}.namespace": "4",
        f"{LABEL}.machine": "m",
        f"{LABEL}.leases": "/l",
    }


def test_a_lease_goes_with_its_owner_also_when_that_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), lease(Owner("run-1"), tmp_path):
        raise KeyboardInterrupt
    assert _names(tmp_path) == []


def test_a_live_owner_s_is_left_alone_and_can_t_be_taken(tmp_path: Path, holder: Hold) -> None:
    holder("run-1")
    assert reap(_must_not, tmp_path) == []
    with pytest.raises(BlockingIOError), lease(Owner("run-1"), tmp_path):
        pass
    assert _names(tmp_path) == ["run-1.json"]
    with lease(Owner("run-2"), tmp_path):
        assert reap(_must_not, tmp_path) == []


def test_a_killed_owner_s_is_reaped_once(tmp_path: Path, holder: Hold) -> None:
    process = holder("run-1")
    process.kill()
    process.wait()
    removed: list[str] = []
    assert reap(removed.append, tmp_path) == ["run-1"] == removed
    assert reap(_must_not, tmp_path) == []
    assert _names(tmp_path) == []


@pytest.mark.parametrize("content", ["", '{"run": "run-1", "ki', "[]", "null", '{"run": "run-1"}'])
def test_half_a_lease_is_reaped(tmp_path: Path, content: str) -> None:
    (tmp_path / "run-1.json").write_text(content)
    assert reap(lambda _: None, tmp_path) == ["run-1"]


def test_one_of_another_boot_is_reaped_whatever_lives_under_its_pid(tmp_path: Path) -> None:
    other = Owner("run-1", boot="another", pid=os.getpid())
    (tmp_path / "run-1.json").write_text(json.dumps(vars(other)))
    assert reap(lambda _: None, tmp_path) == ["run-1"]


def test_a_standing_one_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "up.json").write_text(json.dumps(vars(Owner("up", kind="standing"))))
    assert reap(_must_not, tmp_path) == []
    assert _names(tmp_path) == ["up.json"]


def test_one_that_can_t_be_removed_is_kept_and_the_others_go(tmp_path: Path) -> None:
    for run in ("a", "b", "c"):
        (tmp_path / f"{run}.json").write_text("")
    tried = []

    def remove(run: str) -> None:
        tried.append(run)
        if run != "c":
            raise OSError(run)

    with pytest.raises(OSError, match="a"):
        reap(remove, tmp_path)
    assert tried == ["a", "b", "c"]
    assert _names(tmp_path) == ["a.json", "b.json"]


def test_two_reapers_at_once_share_the_work(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"run-{number}.json").write_text("")
    removed: list[str] = []
    both = threading.Barrier(2)

    def work() -> None:
        both.wait()
        reap(removed.append, tmp_path)

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(removed) == sorted(f"run-{number}" for number in range(20))


def test_a_run_whose_remains_are_being_removed_can_t_be_taken(tmp_path: Path) -> None:
    (tmp_path / "run-1.json").write_text("")

    def remove(run: str) -> None:
        with pytest.raises(BlockingIOError), lease(Owner(run), tmp_path):
            pass

    assert reap(remove, tmp_path) == ["run-1"]
    with lease(Owner("run-1"), tmp_path):
        assert reap(_must_not, tmp_path) == []


def test_a_dead_run_s_name_can_be_taken_again(tmp_path: Path) -> None:
    (tmp_path / "run-1.json").write_text("x" * 1000)
    with lease(Owner("run-1"), tmp_path):
        assert json.loads((tmp_path / "run-1.json").read_text())["pid"] == os.getpid()


def test_leases_taken_while_others_reap_are_never_reaped(tmp_path: Path) -> None:
    """The race that matters: one is made at the very moment that somebody judges it."""
    over = threading.Event()
    wrong = []

    def tidy() -> None:
        while not over.is_set():
            wrong.extend(reap(lambda _: None, tmp_path))

    tidiers = [threading.Thread(target=tidy) for _ in range(2)]
    for tidier in tidiers:
        tidier.start()
    try:
        for number in range(300):
            run = f"run-{number % 3}"
            with lease(Owner(run), tmp_path):
                assert (tmp_path / f"{run}.json").exists()
    finally:
        over.set()
        for tidier in tidiers:
            tidier.join()
    assert wrong == []


def test_leases_are_this_user_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tmp_path in leases_folder().parents
    with lease(Owner("run-1")):
        assert (leases_folder() / "run-1.json").exists()
