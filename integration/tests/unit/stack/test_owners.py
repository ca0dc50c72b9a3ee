"""What became of a run's process: told where it can be proven, and else not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from metta_sandbox.stack import owners
from metta_sandbox.stack.lease import Owner
from metta_sandbox.stack.owners import OwnerFate, start_time

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing can be proven")


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as started:
        yield started
        started.kill()


def owner_of(process: subprocess.Popen[bytes]) -> Owner:
    return Owner("run", pid=process.pid, started=start_time(str(process.pid)))


def test_one_that_lives_here(process: subprocess.Popen[bytes]) -> None:
    assert Owner("run").fate() == (OwnerFate.ALIVE, "")
    assert owner_of(process).fate() == (OwnerFate.ALIVE, "")
    assert Owner.of_labels(owner_of(process).labels()).fate() == (OwnerFate.ALIVE, "")


def test_one_that_has_ended(process: subprocess.Popen[bytes]) -> None:
    owner = owner_of(process)
    process.kill()
    process.wait()
    assert owner.fate() == (OwnerFate.GONE, "")


def test_one_whose_number_somebody_else_has(process: subprocess.Popen[bytes]) -> None:
    owner = replace(owner_of(process), started=1)
    assert owner.fate() == (OwnerFate.GONE, "")


def test_one_that_this_user_may_not_look_at(
    process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = owner_of(process)
    monkeypatch.setattr(owners, "start_time", lambda _pid: 0)
    assert owner.fate()[0] is OwnerFate.UNKNOWN


def test_one_of_another_boot_is_gone_if_it_was_this_machines() -> None:
    earlier = Owner("run", boot="another", pid=os.getpid(), machine="this")
    assert replace(earlier, machine="that").fate()[0] is OwnerFate.UNKNOWN
    assert replace(earlier, machine="").fate()[0] is OwnerFate.UNKNOWN
    if machine := owners.here().machine:
        assert replace(earlier, machine=machine).fate() == (OwnerFate.GONE, "")


@pytest.mark.parametrize("lost", ["boot", "pid", "started", "namespace"])
def test_one_that_does_not_say_all(lost: str) -> None:
    told = {**Owner("run", pid=1).told(), lost: ""}
    assert Owner.of_told(told).fate()[0] is OwnerFate.UNKNOWN


def test_a_standing_stack_needs_no_process() -> None:
    assert Owner("run", kind="standing", boot="another", pid=1).fate()[0] is OwnerFate.UNKNOWN


def test_not_seen_from_another_namespace_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, clock = owners.here().namespace.partition(".")
    elsewhere = Owner("run", pid=1, started=7, namespace=f"17.{clock}")
    monkeypatch.setattr(owners, "_FIRST", "18")
    fate, why = elsewhere.fate()
    assert fate is OwnerFate.UNKNOWN
    assert "container" in why


def test_a_start_by_another_clock_is_no_proof() -> None:
    numbers, _, _ = owners.here().namespace.partition(".")
    assert Owner("run", started=7, namespace=f"{numbers}.5").fate()[0] is OwnerFate.UNKNOWN


def test_from_the_first_namespace_those_in_others_are_seen() -> None:
    if os.geteuid() != 0 or owners.here().namespace.partition(".")[0] != owners._FIRST:
        pytest.skip("only root in the first namespace sees all others")
    script = (
        "from metta_sandbox.stack.lease import Owner; import json;"
        "print(json.dumps(Owner('run').told()), flush=True); input()"
    )
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", script]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        owner = Owner.of_told(json.loads(process.stdout.readline()))
        assert owner.pid == 1
        assert owner.fate() == (OwnerFate.ALIVE, "")
        process.communicate("\n")
    assert owner.fate() == (OwnerFate.GONE, "")


def test_one_that_nobody_has_asked_about_has_ended() -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    started = start_time(str(pid))
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    try:
        assert Owner("run", pid=pid, started=started).fate() == (OwnerFate.GONE, "")
    finally:
        os.waitpid(pid, 0)
