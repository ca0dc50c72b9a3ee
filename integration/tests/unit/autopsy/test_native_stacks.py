"""Calls of C and C++ on a stack: beside Python's own, and without them where they can't be had."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest

from metta_sandbox.autopsy.seen import Process
from metta_sandbox.node.agent.stacks import NATIVE_STACKS, stacks

WAITS = {"name": "pthread_cond_wait", "filename": "/lib/libc.so.6", "module": "/lib/libc.so.6"}
MAIN = {"name": "main", "filename": "/work/train.py", "module": None}
THREAD = {"thread_name": "MainThread", "os_thread_id": 7, "active": False, "owns_gil": False}
PYTHON = json.dumps([{**THREAD, "frames": [{**MAIN, "line": 4}]}])
BOTH = json.dumps([{**THREAD, "frames": [{**WAITS, "line": 0}, {**MAIN, "line": 4}]}])


@pytest.fixture
def spy(tmp_path: Path) -> str:
    """Stand for a py-spy that can read no native stack of process 8."""
    program = tmp_path / "py-spy"
    program.write_text(
        "#!/bin/sh\n"
        f"echo $* >> {shlex.quote(str(tmp_path / 'asked'))}\n"
        'case "$*" in\n'
        "  *--native*8) echo 'not on this machine' >&2; exit 1 ;;\n"
        f"  *--native*) echo {shlex.quote(BOTH)} ;;\n"
        f"  *) echo {shlex.quote(PYTHON)} ;;\n"
        "esac\n"
    )
    program.chmod(0o755)
    return str(program)


def test_they_are_kept_apart_and_what_is_judged_stays_as_it_is(
    spy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NATIVE_STACKS, "1")
    threads, problems, native = stacks(spy, [7], set())
    (main,) = Process.model_validate({"pid": 7, "threads": threads[7]}).threads
    assert [(one.function, one.line) for one in main.frames] == [("main", 4)]
    assert main.native == ("pthread_cond_wait (libc.so.6)", "main (train.py:4)")
    assert (problems, native) == ({}, {})


def test_where_they_can_not_be_had_pythons_own_are_there_and_the_reason(
    spy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NATIVE_STACKS, "1")
    threads, problems, native = stacks(spy, [7, 8, 9], {9})
    assert {pid: bool(each[0]["native"]) for pid, each in threads.items()} == {
        7: True,
        8: False,
        9: False,
    }
    assert {each[0]["frames"][0]["function"] for each in threads.values()} == {"main"}
    assert problems == {}
    assert native == {8: "not on this machine", 9: "it is stopped"}


def test_nobody_asks_for_them_by_itself(
    spy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(NATIVE_STACKS, raising=False)
    threads, _, native = stacks(spy, [8], set())
    assert threads[8][0]["native"] == []
    assert native == {}
    assert (tmp_path / "asked").read_text().split(os.linesep)[:-1] == [
        "dump --json --locals --pid 8"
    ]
