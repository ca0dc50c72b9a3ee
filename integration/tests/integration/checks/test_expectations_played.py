"""Steady states and expectations of scenarios that are really played, on local processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from metta_sandbox.report import results
from metta_sandbox.report.results import CheckResult, RunResult

Play = Callable[..., tuple[RunResult, Path]]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Play scenarios one after another; give the run's results and its folder."""

    def play(*scenarios: dict[str, Any]) -> tuple[RunResult, Path]:
        files = []
        for keys in scenarios:
            files.append(tmp_path / f"{keys['name']}.yaml")
            YAML(typ="safe", pure=True).dump({"version": 1, **keys}, files[-1])
        artifacts = tmp_path / "artifacts"
        words = ["run", *map(str, files), "--engine", "process", "--artifacts", str(artifacts)]
        kept = {name: value for name, value in os.environ.items() if name != "CI"}
        done = subprocess.run(
            [sys.executable, "-m", "metta_sandbox", *words],
            env={**kept, "XDG_STATE_HOME": str(tmp_path / "state")},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert (artifacts / "latest").exists(), done.stdout + done.stderr
        folder = (artifacts / "latest").resolve()
        return results.read(folder), folder

    return play


def bad(checks: tuple[CheckResult, ...]) -> dict[str, str]:
    broken = (check for check in checks if check.verdict not in {"passed", "skipped"})
    return {check.name: check.detail for check in broken}


SEVERAL = """\
python - <<'END'
import os, urllib.request
urllib.request.urlopen(os.environ["OBSERVATORY_URL"] + "/sweeps/mine").read()
END
touch ran-$NODE_INDEX
"""


def test_a_steady_state_is_looked_at_before_and_after_from_the_nodes(play: Play) -> None:
    run, folder = play(
        {
            "name": "steady",
            "steady_state": [
                {"nodes": {"disk": "1MB", "memory": "1MiB"}},
                {"api": {"route": "GET /whoami", "within": "20s"}},
                {"api": {"route": "GET /nowhere", "status": 404, "within": "20s"}},
                # Only before, nothing has run there yet.
                {"command": {"run": "ls; echo $MINE $((41 + 1))", "prints": "^mine 42$"}},
                {"command": {"run": "exit 3", "status": 3, "on": "sweep-worker"}},
            ],
            "workload": {"run": SEVERAL, "env": {"MINE": "mine"}},
            "expect": [
                {"api": {"route": "GET /sweeps/{name}", "calls": 2, "status": 200}},
                {"progress": False},
                {"exits": {"status": 0}},
                {"events": {"in_order": ["api.request", "command.exited"]}},
                {"duration": {"of": "up", "at_most": "60s"}},
                {"duration": {"of": "sweep", "at_least": "10ms", "at_most": "60s"}},
            ],
        }
    )

    (steady,) = run.scenarios
    assert bad(steady.checks) == {}
    states = [check for check in steady.checks if check.asked_by.startswith("steady_state")]
    assert [check.asked_by for check in states] == [f"steady_state[{n}]" for n in range(5)]
    for check in states:
        before, after = check.seen.splitlines()
        assert before.startswith("before: ")
        assert after.startswith("after: ")
    assert (folder / "steady" / "shared" / "ran-1").exists()


def test_nothing_is_started_where_the_steady_state_does_not_hold(play: Play) -> None:
    run, folder = play(
        {
            "name": "shaky",
            "steady_state": [
                {"command": {"run": "echo no room >&2; exit 1", "on": "sweep-worker"}},
                {"api": {"route": "GET /nowhere", "within": "20s"}},
                {"nodes": {}},
            ],
            "workload": {"setup": "touch set-up", "run": "touch ran"},
            "expect": [{"exits": {"status": 0}}],
        }
    )

    (shaky,) = run.scenarios
    assert shaky.verdict == "failed"
    assert shaky.reason.startswith("steady state did not hold: `echo no room >&2; exit 1` on ")
    assert "saying: no room" in shaky.reason
    assert "GET /nowhere answers 200" in shaky.reason
    # What was not started has no expectations that could hold or not.
    assert [check.verdict for check in shaky.checks] == ["failed", "failed", "passed"]
    assert "after: not looked at: the sweep did not start" in shaky.checks[0].detail
    assert not list((folder / "shaky").rglob("ran")) + list((folder / "shaky").rglob("set-up"))


def test_a_steady_state_that_is_over_after_the_sweep_fails_the_scenario(play: Play) -> None:
    run, _ = play(
        {
            "name": "worn",
            "steady_state": [{"command": {"run": "test ! -e used-up", "on": "sweep-master"}}],
            "workload": {"run": "touch used-up"},
            "expect": [{"exits": {"status": 0}}],
        }
    )

    (worn,) = run.scenarios
    assert worn.verdict == "failed"
    assert list(bad(worn.checks)) == [
        "steady state: `test ! -e used-up` on sweep-master exits with 0 within 30 s"
    ]
    assert "before: sweep-master: status 0" in worn.checks[-1].seen
    assert "after: sweep-master: status 1" in worn.checks[-1].seen


TRAINS = """\
import os, pickle, sys, zipfile
sys.path.append(os.environ["METTA_AGENT"])
from metta_sandbox.node.agent.emitter import Emitter

emitter = Emitter.from_environment()
rate = float(os.environ["LR"])
for step in range(3):
    emitter.emit("train.step", step=step, loss=rate / (step + 1), reward=rate, agent_steps=64)
if os.environ["RANK"] == "0":
    with open(os.path.join(os.environ["METTA_TRIAL_DIR"], "checkpoint.pt"), "w") as file:
        file.write("not what torch saves")
"""


def test_two_scenarios_do_the_same_and_a_broken_checkpoint_is_found(
    play: Play, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.py").write_text(TRAINS)
    trainer = {
        "command": "python train.py",
        "launcher": "plain",
        "overrides_style": "env",
        "score": {"source": "event"},
    }
    common = {
        "sweep": {
            "trials": 1,
            "strategy": "random",
            "parameters": {"lr": {"distribution": "uniform", "min": 0.1, "max": 0.9}},
        },
        "workload": {"folder": "mine", "trainer": trainer},
    }
    expect = [
        {"exits": {"status": 0}},
        {"overrides": {"values": {"lr": {"at_least": 0.1, "at_most": 0.9}}}},
        {"wandb": {"history": 3, "summary": {"status": "completed"}}},
        {"log": {"contains": "handoff.received", "times": 1, "on": "sweep-worker"}},
    ]
    run, _ = play(
        {"name": "one", **common, "expect": [*expect, {"checkpoint": "present"}]},
        {"name": "two", **common, "expect": [{"same_as": "one"}, {"checkpoint": "loadable"}]},
    )

    one, two = run.scenarios
    assert bad(one.checks) == {}
    assert two.checks[0].seen == "1 trial the same, 3 loss values compared"
    assert (two.verdict, two.checks[1].verdict) == ("failed", "failed")
    assert "expected one that torch loads, saw " in two.checks[1].detail
