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
from python_on_whales import DockerClient
from ruamel.yaml import YAML

from metta_sandbox.image.base_image import DEFAULT_BASE_IMAGE, ensure_base
from metta_sandbox.image.node_platform import NodePlatform
from metta_sandbox.report import results
from metta_sandbox.report.results import ScenarioResult
from metta_sandbox.scenario.loading import load_all

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


Run = Callable[..., tuple[Path, str]]
Play = Callable[..., Outcome]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Call ``run`` with these words; returns the run's folder and what was printed."""

    def run(*words: str, **env: str) -> tuple[Path, str]:
        artifacts = tmp_path / "artifacts"
        kept = {name: value for name, value in os.environ.items() if name != "CI"}
        done = subprocess.run(
            [sys.executable, "-m", "metta_sandbox", "run", *words, "--artifacts", str(artifacts)],
            env={**kept, "XDG_STATE_HOME": str(tmp_path / "state"), **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=1200,
        )
        text = done.stdout + done.stderr
        assert (artifacts / "latest").exists(), text
        return (artifacts / "latest").resolve(), text

    return run


@pytest.fixture
def play(run: Run) -> Play:
    """Play a scenario file on local processes."""

    def play(file: Path) -> Outcome:
        folder, text = run(str(file), "--engine", "process")
        (result,) = results.read(folder / results.FILE_NAME).scenarios
        return Outcome(result, folder / result.name, text)

    return play


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a scenario with this workload, and a trainer beside it."""

    def write(trainer: str = "", **keys: Any) -> Path:
        (tmp_path / "mine").mkdir(exist_ok=True)
        (tmp_path / "mine" / "train.py").write_text(trainer)
        file = tmp_path / "x.yaml"
        YAML(typ="safe", pure=True).dump({"version": 1, "name": "x", **keys}, file)
        return file

    return write


#: Recipes that local processes can't play, and why.
NEED_CONTAINERS = {
    "mounted-data": "the engine process lacks containers (workload.mounts)",
    "own-image": "the engine process lacks containers (workload.build)",
    "partition": "the engine process lacks side containers (faults[0].partition)",
}


@pytest.mark.parametrize(
    "tags",
    [
        pytest.param({"command", "trainer"}, id="trainers-and-commands"),
        # Minutes; a job of CI plays all of it, too.
        pytest.param({"cookbook"}, id="all", marks=pytest.mark.slow),
    ],
)
def test_the_cookbook_passes_on_local_processes(run: Run, tags: set[str]) -> None:
    filters = [word for tag in sorted(tags) for word in ("--filter", tag)]
    folder, text = run(str(COOKBOOK), "--engine", "process", *filters)

    played = results.read(folder / results.FILE_NAME).scenarios
    expected = [one.scenario.name for one in load_all([COOKBOOK]) if tags & set(one.scenario.tags)]
    assert [one.name for one in played] == expected
    assert {one.name: one.reason for one in played if one.verdict == "skipped"} == {
        name: reason for name, reason in NEED_CONTAINERS.items() if name in expected
    }
    rest = [one for one in played if one.name not in NEED_CONTAINERS]
    assert [one.name for one in rest if one.verdict != "passed"] == [], text


def test_what_needs_containers_passes_there_and_so_does_a_script_of_somebodys(
    docker: DockerClient, run: Run
) -> None:
    platform = NodePlatform.of_engine(docker.system.info().architecture or "")
    base = ensure_base(docker, DEFAULT_BASE_IMAGE, platform, print).name
    files = [str(COOKBOOK / f"{name}.yaml") for name in [*NEED_CONTAINERS, "my-ddp-script"]]

    folder, text = run(*files, "--engine", "compose", BASE_IMAGE=base)

    played = results.read(folder / results.FILE_NAME).scenarios
    assert [one.verdict for one in played] == ["passed"] * len(files), text


#: As Hydra does: the rollout catches its failure and returns 1, which nobody hands on.
SWALLOWING = """
import json, logging, os, urllib.request

def call(route, **body):
    data = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    url = os.environ["COGWEB_URL"] + route
    urllib.request.urlopen(urllib.request.Request(url, data, headers)).read()

def main():
    try:
        if os.environ["NODE_INDEX"] == "0":
            call("/sweeps/x/create_sweep", project="p", entity="e", wandb_sweep_id="s")
            call("/sweeps/x/runs/next")
        raise RuntimeError("Evaluation failed")
    except RuntimeError:
        logging.exception("Rollout failed")
        return 1

main()
"""


def test_a_rollout_that_swallows_its_failure_does_not_pass(
    play: Play, write: Callable[..., Path]
) -> None:
    workload = {"folder": "mine", "run": "python train.py"}

    outcome = play(write(SWALLOWING, workload=workload))

    assert (outcome.result.verdict, outcome.result.reason) == ("failed", "did not hold: progress")
    assert "exited with status 0 after a traceback: RuntimeError: Evaluation failed" in outcome.text
    assert "expected a score, saw none" in outcome.text
    assert "expected a run named" not in outcome.text

    allowed = write(SWALLOWING, workload=workload, expect=[{"progress": False}])
    assert play(allowed).result.verdict == "passed"


@pytest.mark.slow  # ways and random programs have two ranks on a node
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


TRACKING = """
import os, sys, wandb
run = wandb.init(project="p")
run.summary["loss"] = float(os.environ["RANK"]) + 0.5
run.finish()
"""


def test_the_named_ranks_wandb_run_is_the_score_and_without_a_name_the_writers_are_listed(
    play: Play, write: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "track.py").write_text(TRACKING)
    trainer = {"command": "python track.py", "launcher": "plain"}
    sweep = {"trials": 1, "metric": "loss"}

    def file(**score: Any) -> Path:
        said = {**trainer, "score": {"source": "wandb_summary", **score}}
        return write(
            sweep=sweep,
            workload={"folder": "app", "trainer": said},
            expect=[{"wandb": {"rank": 1, "summary": {"loss": 1.5}}}],
        )

    named = play(file(rank=1))
    assert named.result.verdict == "passed", named.text
    assert named.trial()["score"] == 1.5
    several = play(file())
    assert "tell different values of loss: rank 0 0.5" in several.trial()["reason"], several.text


RESUMING = """
from pathlib import Path
import torch.distributed as dist
dist.init_process_group("gloo")
snapshot = Path("snapshot")
epoch = int(snapshot.read_text()) if snapshot.exists() else 0
dist.barrier()
if dist.get_rank() == 0:
    snapshot.write_text(str(epoch + 3))
    print(f"loss={epoch + int(Path('base').read_text())}", flush=True)
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.parametrize(
    "working_folder", ["shared", pytest.param("private", marks=pytest.mark.slow)]
)
def test_each_trial_finds_the_folder_as_setup_left_it_unless_all_work_on_in_one(
    play: Play, write: Callable[..., Path], working_folder: str
) -> None:
    trainer = {"command": "python train.py", "overrides_style": "env"}
    score = {"source": "log", "pattern": "loss=(.*)"}

    def scores(fresh: str) -> tuple[list[float], Outcome]:
        workload = {
            "folder": "mine",
            "working_folder": working_folder,
            "fresh": fresh,
            "setup": "echo 7 > base",
            "trainer": {**trainer, "score": score},
        }
        played = play(write(RESUMING, sweep={"trials": 3}, workload=workload))
        assert played.result.verdict == "passed", played.text
        return [played.trial(number)["score"] for number in (1, 2, 3)], played

    own, played = scores("trial")
    assert own == [7, 7, 7]
    here = "workspace" if working_folder == "shared" else "workspace-sweep-master"
    shared = played.folder / "shared"
    assert (shared / here / "snapshot").read_text() == "3"
    (left,) = shared.glob("workspaces/x.r.1/**/snapshot")
    assert left.read_text() == "3"
    assert not (shared / ".as-set-up").exists()
    assert "trials apart" not in played.text

    one, played = scores("sweep")
    assert one == [7, 10, 13]
    assert "trial 2 on sweep-master: read snapshot, written since" in played.text


def test_long_overrides_reach_every_launchers_trainer(
    play: Play, write: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "app").mkdir()
    code = "import json, sys\nprint('loss=', len(json.load(open(sys.argv[1]))['spec']))\n"
    (tmp_path / "app" / "read.py").write_text(code)
    for launcher in ("warm", "torchrun"):
        trainer = {
            "command": "python read.py {overrides_file}",
            "launcher": launcher,
            "overrides_style": "file",
            "overrides": {"spec": "ü" * 100_000 + "x" * 50_000},
            "score": {"source": "log", "pattern": "loss= (.*)"},
        }
        played = play(write(sweep={"trials": 1}, workload={"folder": "app", "trainer": trainer}))
        assert played.trial()["score"] == 150_000, played.text


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
