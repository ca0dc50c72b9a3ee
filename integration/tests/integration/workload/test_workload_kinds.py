"""Trainers and commands of people's own, across real nodes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from metta_sandbox.report import results
from metta_sandbox.report.results import ScenarioResult

COOKBOOK = Path(__file__).parents[4] / "scenarios" / "cookbook"


@dataclass(frozen=True)
class Outcome:
    """How a scenario came out, and what the command printed."""

    result: ScenarioResult
    folder: Path
    text: str

    def trial(self, number: int = 1) -> dict[str, Any]:
        path = self.folder / f"trials/{self.result.name}.r.{number}/trial.json"
        found: dict[str, Any] = json.loads(path.read_text())
        return found


Play = Callable[..., Outcome]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Play a scenario file on an engine."""

    def play(file: Path, engine: str = "process") -> Outcome:
        artifacts = tmp_path / "artifacts"
        words = ["run", str(file), "--engine", engine, "--artifacts", str(artifacts)]
        kept = {name: value for name, value in os.environ.items() if name != "CI"}
        done = subprocess.run(
            [sys.executable, "-m", "metta_sandbox", *words],
            env={**kept, "XDG_STATE_HOME": str(tmp_path / "state")},
            capture_output=True,
            text=True,
            check=False,
            timeout=400,
        )
        text = done.stdout + done.stderr
        assert (artifacts / "latest").exists(), text
        folder = (artifacts / "latest").resolve()
        (result,) = results.read(folder / results.FILE_NAME).scenarios
        return Outcome(result, folder / result.name, text)

    return play


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a scenario with this workload, and a trainer beside it."""

    def write(trainer: str = "", **keys: Any) -> Path:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "train.py").write_text(trainer)
        file = tmp_path / "x.yaml"
        YAML(typ="safe", pure=True).dump({"version": 1, "name": "x", **keys}, file)
        return file

    return write


@pytest.mark.parametrize(
    "name",
    ["my-ddp-script", "without-torchrun", "own-launcher", "own-command", "refused-run-name"],
)
def test_a_recipe_of_the_cookbook_passes(play: Play, name: str) -> None:
    outcome = play(COOKBOOK / f"{name}.yaml")

    assert outcome.result.verdict == "passed", outcome.text


def test_a_script_of_somebodys_runs_in_containers_too(docker: object, play: Play) -> None:
    assert docker
    outcome = play(COOKBOOK / "my-ddp-script.yaml", "compose")

    assert outcome.result.verdict == "passed", outcome.text


def test_the_bundled_trainer_has_two_ranks_on_each_node(
    play: Play, write: Callable[..., Path]
) -> None:
    sizes = {"total_timesteps": 256, "batch_size": 256, "minibatch_size": 64, "bptt_horizon": 4}
    trainer = {"launcher": "plain", "ranks_per_node": 2, "overrides": {"trainer": sizes}}
    file = write(sweep={"trials": 1}, workload={"trainer": trainer})

    outcome = play(file)

    assert outcome.result.verdict == "passed", outcome.text
    details = {check.name: check.detail for check in outcome.result.checks}
    assert details["digests"] == "equal on 4 ranks in 1 trial"


def test_a_trainer_without_a_score_fails_its_trial_and_is_told_why(
    play: Play, write: Callable[..., Path]
) -> None:
    file = write(
        "print('trained, and told nobody how well')",
        sweep={"trials": 1},
        workload={"folder": "mine", "trainer": {"command": "python train.py"}},
        expect=[{"trials": {"failed": 1}}, {"log": {"contains": "told nobody"}}],
    )

    outcome = play(file)

    reason = outcome.trial()["reason"]
    assert "no train.step or train.finished event carries reward" in reason
    assert "workload.trainer.score" in reason
    assert [check.verdict for check in outcome.result.checks][:2] == ["passed", "passed"]


EMITS = """\
import os, sys
sys.path.append(os.environ["METTA_AGENT"])
from metta_sandbox.node.agent.emitter import Emitter

emitter = Emitter.from_environment()
for step in range(3):
    emitter.emit("train.step", step=step, reward=step / 2, agent_steps=100 * (step + 1))
"""


def test_events_of_somebodys_trainer_are_score_cost_and_history(
    play: Play, write: Callable[..., Path]
) -> None:
    file = write(
        EMITS,
        sweep={"trials": 1},
        workload={"folder": "mine", "trainer": {"command": "python train.py", "launcher": "plain"}},
    )

    outcome = play(file)

    assert outcome.result.verdict == "passed", outcome.text
    assert (outcome.trial()["score"], outcome.trial()["cost"]) == (1.0, 300)


def test_a_command_that_fails_on_one_node_ends_the_job_on_all(
    play: Play, write: Callable[..., Path]
) -> None:
    run = 'if [ "$SKYPILOT_NODE_RANK" == 1 ]; then echo no more >&2; exit 3; fi; sleep 600'
    outcome = play(write(workload={"run": run}))

    assert outcome.result.verdict == "failed"
    assert outcome.result.reason == (
        "the command on sweep-worker exited with status 3, saying: no more"
    )
    assert outcome.result.seconds < 120


def test_a_wandb_run_of_ones_own_command_is_collected(
    play: Play, write: Callable[..., Path]
) -> None:
    code = "import wandb; run = wandb.init(project='p'); run.log({'a': 1}); run.finish()"
    run = f'[ "$NODE_INDEX" != 0 ] || python -c "{code}"'
    outcome = play(write(workload={"run": run}))

    assert outcome.result.verdict == "passed", outcome.text
    assert list((outcome.folder / "wandb").glob("offline-run-*/run-*.wandb"))


def test_a_folder_that_is_not_there_is_refused_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("version: 1\nname: x\nworkload: {folder: gone, run: 'true'}\n")

    done = subprocess.run(
        [sys.executable, "-m", "metta_sandbox", "run", file, "--artifacts", tmp_path / "a"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2, done.stderr
    assert "workload.folder" in done.stderr + done.stdout
    assert not (tmp_path / "a").exists()
