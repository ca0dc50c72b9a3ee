from __future__ import annotations

import base64
import json
import os
import shlex
import signal
import subprocess
import sys
import zlib
from pathlib import Path

from metta_sandbox.autopsy.seen import NodeLook
from metta_sandbox.probes import look_at_processes

#: Marks what belongs to the node that is looked at.
_ME = {"METTA_EVENTS": f"/{os.getpid()}", "RANK": "5"}


def test_a_fork_that_is_no_child_of_the_agent_is_seen_by_its_mark(tmp_path: Path) -> None:
    mine, others = f"{tmp_path}/mine.sock", f"{tmp_path}/others.sock"
    sleepers = [
        subprocess.Popen(["sleep", "60"], env={"PATH": os.environ["PATH"], "METTA_EVENTS": events})
        for events in (mine, others)
    ]
    probe = shlex.join([sys.executable, str(look_at_processes.__file__), "seen.json"])
    environ = {**os.environ, "METTA_EVENTS": mine, "METTA_RUN_FOLDER": str(tmp_path)}
    try:
        # The shell is in the agent's place, and not these programs' parent.
        subprocess.run(["sh", "-c", f"{probe}; true"], env=environ, check=True, capture_output=True)
    finally:
        for each in sleepers:
            each.kill()
            each.wait()
    seen = [each["pid"] for each in json.loads((tmp_path / "seen.json").read_text())["processes"]]
    assert seen == [sleepers[0].pid]


def test_where_nothing_can_be_written_all_is_printed(tmp_path: Path) -> None:
    # Nobody can write where a folder is, root neither.
    (tmp_path / "seen.json").mkdir()
    probe = [sys.executable, str(look_at_processes.__file__), "seen.json"]
    environ = {**os.environ, "METTA_EVENTS": "", "METTA_RUN_FOLDER": str(tmp_path)}

    said = subprocess.run(probe, env=environ, check=True, capture_output=True, text=True).stdout

    packed = json.loads(said)["packed"]
    seen = json.loads(zlib.decompress(base64.b64decode(packed)))
    assert seen["disk_free"] > 0
    assert seen["problem"] == ""


#: A program with a thread that computes, one that waits, and a child that is no Python.
_MIXED = """\
import subprocess, threading, time

def compute():
    while True:
        sum(range(1000))

threading.Thread(target=compute, name="computes", daemon=True).start()
threading.Thread(target=threading.Event().wait, name="waits", daemon=True).start()
child = subprocess.Popen(["sleep", "60"])
print(child.pid, flush=True)
child.wait()
"""


def test_what_moves_is_told_from_what_stands_still(tmp_path: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", _MIXED], stdout=subprocess.PIPE, text=True, env={**os.environ, **_ME}
    )
    assert program.stdout is not None
    child = int(program.stdout.readline())
    probe = [sys.executable, str(look_at_processes.__file__), "seen.json"]
    environ = {**os.environ, **_ME, "METTA_RUN_FOLDER": str(tmp_path)}
    try:
        subprocess.run(probe, env=environ, check=True, capture_output=True)
    finally:
        os.kill(child, signal.SIGKILL)
        program.kill()
        program.communicate()
    seen = NodeLook.model_validate_json((tmp_path / "seen.json").read_bytes())

    whole = seen.process(program.pid)
    assert whole is not None
    assert whole.environ == {"RANK": "5"}
    assert seen.time > 0
    assert seen.load is not None
    threads = {one.name: one for one in whole.threads}
    assert threads["computes"].moved
    assert threads["computes"].cpu_since > 0.05
    assert threads["waits"].moved is False
    assert whole.main is not None
    assert whole.main.moved is False
    assert whole.main.waits is not None
    assert (whole.main.waits.kind, whole.main.waits.target) == ("wait", str(child))
    sleeper = seen.process(child)
    assert sleeper is not None
    assert (sleeper.name, sleeper.parent) == ("sleep", program.pid)
    assert [(one.id, one.frames) for one in sleeper.threads] == [(child, ())]
    assert sleeper.threads[0].waits is not None
    assert sleeper.threads[0].waits.kind == "sleep"
    assert [one.pid for one in seen.programs] == [program.pid]
