from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from metta_sandbox.report import environment


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["run", "scenarios/basic.yaml"], ["run", "scenarios/basic.yaml"]),
        (["--token", "abc", "x"], ["--token", "***", "x"]),
        (["--token=abc def"], ["--token=***"]),
        (["WANDB_API_KEY=abc"], ["WANDB_API_KEY=***"]),
        (["--env=AWS_SECRET_ACCESS_KEY=abc"], ["--env=AWS_SECRET_ACCESS_KEY=***"]),
        (["X-Auth-Token: abc"], ["X-Auth-Token: ***"]),
        (["https://me:pw@host/x"], ["https://***@host/x"]),
        (["https://host/?access_key=1"], ["https://host/?access_key=***"]),
        (["--password", "--quiet"], ["--password", "--quiet"]),
        (["trainer.batch_size=512"], ["trainer.batch_size=512"]),
    ],
)
def test_secrets_on_the_command_line_are_masked(words: list[str], shown: list[str]) -> None:
    assert list(environment.masked(words)) == shown


def test_what_a_run_ran_on_is_written(tmp_path: Path) -> None:
    made = environment.describe(
        ["run", "--token=x"],
        engine="compose",
        engine_versions={"docker": "20.10.24"},
        images={"node": "sha256:1"},
        source=tmp_path,
    )

    written = json.loads(environment.write(made, tmp_path).read_text())

    assert written["command"] == ["run", "--token=***"]
    assert (written["engine"], written["engine_versions"]) == ("compose", {"docker": "20.10.24"})
    assert written["images"] == {"node": "sha256:1"}
    assert {"wandb", "python-on-whales"} <= set(written["packages"])
    assert written["cpus"] >= 1
    assert written["memory_bytes"] > 2**20
    assert (written["commit"], written["dirty"]) == ("", None)


def test_the_working_copys_state_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> str:
        said = ["-c", "user.name=a", "-c", "user.email=a@b", *words]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *said], check=True, capture_output=True, text=True
        ).stdout

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "first")

    assert environment.git_state(tmp_path) == (git("rev-parse", "HEAD").strip(), False)
    (tmp_path / "new").touch()
    assert environment.git_state(tmp_path)[1] is True
    monkeypatch.setenv("PATH", "")
    assert environment.git_state(tmp_path) == ("", None)
