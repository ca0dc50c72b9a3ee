"""Sweeps whose trials are forked against the same sweeps under torchrun: nothing may differ."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

COOKBOOK = Path(__file__).parents[4] / "scenarios" / "cookbook"
#: Scenarios of the cookbook whose trainers torchrun starts.
UNDER_TORCHRUN = sorted(
    path
    for path in COOKBOOK.glob("[!_]*.yaml")
    if re.search(r"^sweep:", path.read_text(), re.MULTILINE)
    and not re.search(
        r"launcher:|^extends:|^matrix:|  (run|image|build):", path.read_text(), re.MULTILINE
    )
)
BUNDLED = """\
version: 1
name: bundled
longest_silence: 3m
sweep:
  trials: 2
  parameters:
    trainer.optimizer.learning_rate: {distribution: log_normal, min: 1e-4, max: 1e-2}
workload:
  trainer:
    overrides: {trainer.total_timesteps: 512, trainer.batch_size: 256, trainer.minibatch_size: 128}
expect:
  - trials: {completed: 2}
"""
PRINTS_ENVIRONMENT = """\
import json, os, sys
import torch.distributed as dist
dist.init_process_group("gloo")
mine = (sys.argv, sys.path[0], os.getcwd(), dist.get_rank(), dist.get_world_size())
print("HERE", json.dumps([dict(os.environ), *mine]))
dist.barrier()
print("loss=1.5")
"""
#: What a launcher says of a rank's place.
_PLACE = re.compile(r"(LOCAL_|GROUP_|ROLE_)?(RANK|WORLD_SIZE)|ROLE_NAME|OMP_NUM_THREADS|TORCH.*")

Play = Callable[..., tuple[dict[str, Any], Path, str]]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Play a scenario under a launcher; give its result, its artifacts and what was printed."""

    def play(file: Path, launcher: str) -> tuple[dict[str, Any], Path, str]:
        content = YAML(typ="safe", pure=True).load(file)
        content.setdefault("workload", {}).setdefault("trainer", {})["launcher"] = launcher
        if folder := content["workload"].get("folder"):
            content["workload"]["folder"] = str((file.parent / folder).resolve())
        copy = tmp_path / launcher / file.name
        copy.parent.mkdir(exist_ok=True)
        YAML(typ="safe", pure=True).dump(content, copy)
        artifacts = copy.parent / "artifacts"
        words = ["run", str(copy), "--engine", "process", "--artifacts", str(artifacts)]
        done = subprocess.run(
            [sys.executable, "-m", "metta_sandbox", *words],
            env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "CI": ""},
            capture_output=True,
            text=True,
            check=False,
            timeout=400,
        )
        text = done.stdout + done.stderr
        (result,) = json.loads((artifacts / "latest" / "results.json").read_text())["scenarios"]
        return result, (artifacts / "latest").resolve() / result["name"], text

    return play


def _what_counts(result: dict[str, Any], folder: Path) -> dict[str, Any]:
    trials: list[Any] = []
    for trial in result["trials"]:
        kept = folder / "trials" / trial["run"]
        digests = {path.name: path.read_text() for path in sorted(kept.glob("rank-*.digest"))}
        losses = [
            event.get("loss")
            for line in (folder / "timeline.jsonl").read_text().splitlines()
            if (event := json.loads(line)).get("event") == "train.step"
            and (event.get("run"), event.get("rank")) == (trial["run"], 0)
        ]
        named = {name: trial[name] for name in ("run", "status", "score", "overrides")}
        trials.append((named, digests, losses))
    checks = [(check["name"], check["verdict"]) for check in result["checks"]]
    return {"verdict": result["verdict"], "trials": trials, "checks": checks}


@pytest.mark.slow
def test_the_bundled_trainer_s_sweep_is_the_same(play: Play, tmp_path: Path) -> None:
    file = tmp_path / "bundled.yaml"
    file.write_text(BUNDLED)
    cold, warm = (_what_counts(*play(file, launcher)[:2]) for launcher in ("torchrun", "warm"))
    assert cold == warm
    assert cold["verdict"] == "passed"
    assert all(digests and losses for _, digests, losses in cold["trials"])


@pytest.mark.slow
@pytest.mark.parametrize("file", UNDER_TORCHRUN, ids=lambda path: path.stem)
def test_a_scenario_of_the_cookbook_is_the_same(play: Play, file: Path) -> None:
    cold, warm = (_what_counts(*play(file, launcher)[:2]) for launcher in ("torchrun", "warm"))
    assert cold == warm


def test_each_rank_sees_the_variables_that_torchrun_gives(play: Play, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.py").write_text(PRINTS_ENVIRONMENT)
    file = tmp_path / "seen.yaml"
    trainer = {
        "command": "python train.py --flag",
        "ranks_per_node": 2,
        "score": {"source": "log", "pattern": "loss=(.*)"},
    }
    workload = {"folder": str(tmp_path / "mine"), "trainer": trainer}
    content = {"version": 1, "name": "seen", "sweep": {"trials": 1}, "workload": workload}
    YAML(typ="safe", pure=True).dump(content, file)
    seen = {}
    for launcher in ("torchrun", "warm"):
        _, folder, text = play(file, launcher)
        logs = sorted(folder.glob("trials/*/rank-*.log"))
        assert len(logs) == 4, text
        said = [re.search("HERE (.*)", log.read_text()) for log in logs]
        environs, *others = zip(*(json.loads(match[1]) for match in said if match), strict=True)
        places = [{k: v for k, v in one.items() if _PLACE.fullmatch(k)} for one in environs]
        for place in places:
            assert place.pop("TORCHELASTIC_ERROR_FILE").endswith(".json")
        argv, _, cwd, rank, size = others
        assert argv == (["train.py", "--flag"],) * 4
        assert all(path == folder for path, folder in zip(others[1], cwd, strict=True))
        seen[launcher] = (places, [sorted(one) for one in environs], rank, size)
    assert seen["warm"] == seen["torchrun"]


def test_what_is_no_python_runs_under_torchrun_and_a_line_says_so(
    play: Play, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.sh").write_text('echo "loss=2.5 on rank $RANK"\n')
    file = tmp_path / "shell.yaml"
    trainer = {
        "command": "bash train.sh",
        "score": {"source": "log", "pattern": "loss=([0-9.]+)"},
    }
    workload = {"folder": str(tmp_path / "mine"), "trainer": trainer}
    content = {"version": 1, "name": "shell", "sweep": {"trials": 1}, "workload": workload}
    YAML(typ="safe", pure=True).dump(content, file)
    result, folder, _ = play(file, "warm")
    assert result["verdict"] == "passed"
    reason = "not warm, so torchrun starts it: bash is no Python interpreter"
    assert reason in (folder / "logs" / "sweep-master.log").read_text()
