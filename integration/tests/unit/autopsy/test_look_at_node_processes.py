from __future__ import annotations

import base64
import json
import os
import shlex
import subprocess
import sys
import zlib
from pathlib import Path

from metta_sandbox.probes import look_at_processes


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
