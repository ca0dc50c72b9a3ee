from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
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
