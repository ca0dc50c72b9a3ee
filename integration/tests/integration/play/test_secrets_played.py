"""Secrets of a scenario that is really played, on local processes: nodes have them, nobody else."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

from metta_sandbox.masking import Masker
from metta_sandbox.report import results

TOKEN = "hunter2/+hunter2 token"
VARIABLE = "ghp-0123456789abcdef"
PASSWORD = "netrc-password"

SCENARIO = """\
version: 1
name: secrets
nodes: 1
credentials: true
variables: {t: {default: none, env: GITHUB_TOKEN}}
secrets: {TOKEN: }
workload:
  env: {MY_API_TOKEN: "Bearer ${t}"}
  setup: test "$TOKEN"
  run: |
    python - <<'END'
    import base64, json, os, pathlib, sys, urllib.parse
    token, other = os.environ["TOKEN"], os.environ["MY_API_TOKEN"]
    password = pathlib.Path("~/.netrc").expanduser().read_text().split()[-1]
    for value in (token, other, password):
        print(value, json.dumps({"v": value}), urllib.parse.quote(value))
        for before in range(3):
            print(base64.b64encode(b"x" * before + value.encode() + b"y").decode())
    sys.stdout.write(token[:9]); sys.stdout.flush(); sys.stdout.write(token[9:] + "\\n")
    told = [one for one in pathlib.Path("/proc").glob("[0-9]*/cmdline")
            if one.exists() and token.encode() in one.read_bytes()]
    print(f"{len(other)} letters, in {len(told)} command lines")
    pathlib.Path("state.bin").write_bytes(b"\\0" + token.encode())
    sys.exit(f"cannot log in with {token}")
    END
expect:
  - log: {contains: '27 letters, in 0 command lines', on: sweep-master}
"""


def test_no_secret_is_in_anything_that_is_written(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".netrc").write_text(f"machine x login y password {PASSWORD}\n")
    file = tmp_path / "secrets.yaml"
    file.write_text(SCENARIO)
    artifacts = tmp_path / "artifacts"
    words = ["run", str(file), "--engine", "process", "--artifacts", str(artifacts), "--verbose"]
    kept = {name: value for name, value in os.environ.items() if name != "CI"}
    own = {"TOKEN": TOKEN, "GITHUB_TOKEN": VARIABLE, "HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-m", "metta_sandbox", *words],
        env={**kept, "XDG_STATE_HOME": str(tmp_path / "state"), **own},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    folder = (artifacts / "latest").resolve()
    (scenario,) = results.read(folder).scenarios
    assert [each.verdict for each in scenario.checks if each.asked_by] == ["passed"], done.stdout
    assert [(each.file, each.why) for each in scenario.left_out.files] == [
        ("shared/state.bin", "holds a secret, and is no text")
    ]
    known = Masker([TOKEN, VARIABLE, PASSWORD])
    assert not known.finds(f"{done.stdout}{done.stderr}".encode())
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert not known.finds(path.read_bytes()), path
    log = (folder / "secrets" / "logs" / "sweep-master.log").read_text()
    assert "27 letters, in 0 command lines" in log
    assert "cannot log in with ***" in log
    assert base64.b64encode(TOKEN.encode()).decode()[:12] not in log
