"""A program that says the worst on real nodes: none of it acts where it comes out."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

from ruamel.yaml import YAML

#: Its last line and its exception; what stands in front of each is for the log alone.
WORST = (
    "::stop-commands::M4RK\n::add-mask::M4RK ##[add-mask]M4RK \x1b]0;title\x07\x1b[2J\u202e\x9b\x00"
    " failed\rPASSED ![x](http://tracker) <script>alert(1)</script> @octocat"
)
PROGRAM = f"""\
import os, sys
sys.path.append(os.environ["METTA_AGENT"])
from metta_sandbox.node.agent.emitter import Emitter
worst = {WORST!r}
Emitter.from_environment().emit("train.step", step=1, note=worst)
print(worst, flush=True)
if os.environ["SKYPILOT_NODE_RANK"] == "1":
    raise SystemExit(worst)
raise RuntimeError(worst)
"""
_ACTIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


def test_what_it_says_is_shown_and_does_nothing(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "train.py").write_text(PROGRAM, encoding="utf-8")
    scenario = {
        "version": 1,
        "name": "hostile",
        "workload": {"folder": "mine", "run": "python train.py"},
        "expect": [{"log": {"lacks": "M4RK"}}, {"exits": {"status": 0}}],
    }
    file = tmp_path / "hostile.yaml"
    YAML(typ="safe", pure=True).dump(scenario, file)
    job = tmp_path / "job.md"
    command = [sys.executable, "-m", "metta_sandbox", "run", str(file), "--engine", "process"]
    done = subprocess.run(
        [*command, "--verbose", "--artifacts", str(tmp_path / "artifacts")],
        env={**os.environ, "GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(job)},
        capture_output=True,
        check=False,
        timeout=600,
    )
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 1, said
    (folder,) = (tmp_path / "artifacts").glob("2*")

    assert _ACTIVE.search(said) is None
    lines = [line.strip() for line in said.split("\n") if "M4RK" in line]
    ours = [line for line in lines if line.startswith("::error file=")]
    assert ours
    assert not [line for line in lines if line.startswith("::") and line not in ours]
    assert not [line for line in lines if "##[" in line and line not in ours]
    assert r"\x1b]0;title\x07\x1b[2J\u202e\x9b\x00 failed\rPASSED" in said
    assert "train.step" in said

    summary = (folder / "summary.md").read_text(encoding="utf-8")
    assert job.read_text(encoding="utf-8") == summary
    log = (folder / "hostile" / "timeline.log").read_text(encoding="utf-8")
    for text in (summary, log):
        assert "M4RK" in text
        assert _ACTIVE.search(text) is None
        assert "##[" not in text
        assert not re.search(r"^\s*::", text, re.MULTILINE)
    root = ET.parse(folder / "junit.xml").getroot()
    told = [text for one in root.iter() for text in (one.text or "", *one.attrib.values())]
    assert any("M4RK" in text for text in told)
    assert not any(_ACTIVE.search(text) for text in told)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "M4RK" in page
    assert "<script>alert" not in page
    assert "\u202e" not in page
    for data in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page):
        assert not re.search(r"(?<!\\)\\u(202e|001b|0000|009b)", data)

    entries = (folder / "hostile" / "timeline.jsonl").read_text(encoding="utf-8").split("\n")
    notes = [json.loads(entry).get("note") for entry in entries if entry]
    assert WORST in notes
