"""A sweep that is interrupted half-way and resumed, against one that was left alone."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

if TYPE_CHECKING:
    from tests.integration.play.conftest import Command, Start

#: Scores by what was suggested; the third trial waits to be interrupted where a file says so.
TRAINER = """\
import json, os, pathlib, time

lr = json.loads(os.environ["METTA_OVERRIDES"])["lr"]
print("score=%r" % (lr * (1 - lr)), flush=True)
while os.environ["METTA_TRIAL"] == "3" and pathlib.Path("hold").exists():
    time.sleep(0.05)
"""


def write(folder: Path, *, hold: bool = False, **sweep: Any) -> Path:
    """Write a scenario and its trainer."""
    (folder / "mine").mkdir(parents=True)
    (folder / "mine" / "train.py").write_text(TRAINER)
    if hold:
        (folder / "mine" / "hold").touch()
    lr = {"distribution": "uniform", "min": 0.0, "max": 1.0}
    scenario: dict[str, Any] = {
        "version": 1,
        "name": "x",
        "nodes": 1,
        "sweep": {"trials": 5, "metric": "score", "parameters": {"lr": lr}, **sweep},
        "workload": {
            "folder": "mine",
            "trainer": {
                "command": "python train.py",
                "launcher": "plain",
                "overrides_style": "env",
                "score": {"source": "log", "pattern": "score=(.*)"},
            },
        },
    }
    # In seconds a cost, and with it a suggestion of protein's, would differ from run to run.
    scenario["sweep"]["strategy"] = "random"
    YAML(typ="safe", pure=True).dump(scenario, folder / "x.yaml")
    return folder / "x.yaml"


def told(command: Command, name: str, field: str) -> list[Any]:
    return [entry[field] for entry in command.entries("x") if entry.get("event") == name]


def play(cli: Start, file: Path, artifacts: Path | None = None) -> Command:
    return cli("run", file, "--engine", "process", artifacts=artifacts)


@pytest.mark.parametrize(
    "how", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGKILL]
)
def test_it_makes_the_same_suggestions_under_names_that_go_on(
    cli: Start, tmp_path: Path, how: signal.Signals
) -> None:
    whole = play(cli, write(tmp_path / "whole"))
    broken = play(cli, write(tmp_path / "broken", hold=True))
    broken.eventually(lambda: len(told(broken, "handoff.sent", "run")) == 3, "the third trial")
    broken.interrupt(how)
    broken.wait()
    assert whole.wait() == 0, whole.text

    resumed = play(cli, write(tmp_path / "resumed", resume=str(broken.folder / "x")))

    assert resumed.wait() == 0, resumed.text
    before, after = (told(each, "suggestion.made", "suggestion") for each in (broken, resumed))
    assert before[:2] + after == told(whole, "suggestion.made", "suggestion")
    assert before[2] == after[0]
    assert told(broken, "run.named", "run") == ["x.r.1", "x.r.2", "x.r.3"]
    assert told(resumed, "run.named", "run") == ["x.r.4", "x.r.5", "x.r.6"]
    assert told(resumed, "sweep.resumed", "trials") == [2]
    (result,) = resumed.results().scenarios
    assert [trial.status for trial in result.trials] == ["completed"] * 3
    observed = (resumed.folder / "x" / "shared" / "observations.jsonl").read_text().splitlines()
    assert [json.loads(line)["run"] for line in observed] == [
        *("x.r.1", "x.r.2", "x.r.4", "x.r.5", "x.r.6")
    ]


def test_latest_is_the_newest_run_and_what_is_missing_is_exit_status_2(
    cli: Start, tmp_path: Path
) -> None:
    file, artifacts = write(tmp_path, resume="latest", trials=1), tmp_path / "artifacts"
    first = play(cli, file, artifacts)
    assert first.wait() == 0, first.text
    assert "no earlier run has trials of x" in first.text
    file.write_text(file.read_text().replace("trials: 1", "trials: 2"))
    second = play(cli, file, artifacts)
    assert second.wait() == 0, second.text
    assert "trial 2 (x.r.2)" in second.text
    assert "trial 1" not in second.text

    file.write_text(file.read_text().replace("latest", "../gone"))
    gone = play(cli, file, tmp_path / "none")
    assert gone.wait() == 2
    assert "sweep.resume: ../gone has no scenario x that was played" in gone.text
    assert not (tmp_path / "none").exists()
