"""What a trial starts on a node, for each way of starting it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from metta_sandbox.node.handoff import HandOff
from metta_sandbox.node.launchers.base import GroupSpec
from metta_sandbox.node.launchers.plain import (
    OF_A_RANK,
    PlainLauncher,
    rank_environment,
    run_ranks,
)
from metta_sandbox.node.overrides_style import too_long
from metta_sandbox.node.trial import BUNDLED, TrialPlan, group_spec
from metta_sandbox.node.view import NodeView
from metta_sandbox.scenario.workload import Workload

HANDOFF = HandOff(trial=3, run="s.r.3", overrides={"opt.lr": 0.5}, wandb_run_id="w", port=4242)


def spec(folder: Path, env: dict[str, str] | None = None, **trainer: Any) -> Any:
    workload = Workload.model_validate({"trainer": trainer, "env": env or {}})
    view = NodeView("sweep-worker", 1, 2, "master", 8008, folder, "/events", "/agent.pyz")
    return group_spec(TrialPlan(workload, 42, "macbook"), HANDOFF, view)


def test_the_bundled_trainer_gets_run_seed_and_hardware(tmp_path: Path) -> None:
    words = ("run=s.r.3", "seed=42", "opt.lr=0.5", "+hardware=macbook")
    assert spec(tmp_path).command == (*BUNDLED, *words)


def test_anothers_trainer_gets_nothing_but_its_overrides(tmp_path: Path) -> None:
    found = spec(tmp_path, command="python train.py run=$METTA_RUN_ID")

    assert found.command == ("python", "train.py", "run=s.r.3", "opt.lr=0.5")
    assert found.env["METTA_SEED"] == "42"
    assert found.env["WANDB_DIR"] == str(tmp_path / "trials" / "s.r.3")


def test_each_style_puts_them_elsewhere(tmp_path: Path) -> None:
    flags = spec(tmp_path, command="t", overrides_style="flags")
    env = spec(tmp_path, command="t", overrides_style="env", env={"OPT_LR": "9", "MINE": "1"})
    file = spec(tmp_path, command="t {overrides_file}", overrides_style="file")

    assert flags.command == ("t", "--opt.lr", "0.5")
    assert (env.command, env.env["OPT_LR"], env.env["MINE"]) == (("t",), "0.5", "1")
    assert file.command == ("t", str(tmp_path / "trials/s.r.3/overrides-file.json"))
    assert env.env["METTA_OVERRIDES"] == '{"opt.lr": 0.5}'


def test_what_is_too_long_for_a_variable_goes_by_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = replace(HANDOFF, overrides={"spec": "größe " * 25_000})
    monkeypatch.setattr(f"{__name__}.HANDOFF", long)
    (tmp_path / "trials/s.r.3").mkdir(parents=True)

    found = spec(tmp_path, command="t {overrides_file}", overrides_style="file")

    assert "METTA_OVERRIDES" not in found.env
    told = Path(found.env["METTA_OVERRIDES_FILE"])
    assert json.loads(told.read_text()) == long.overrides
    assert not too_long(found.command, found.env)
    flags = spec(tmp_path, command="t", overrides_style="flags")
    assert "the word größe" in too_long(flags.command, flags.env)
    env = spec(tmp_path, command="t", overrides_style="env")
    assert "the variable SPEC has 200005 bytes" in too_long(env.command, env.env)


def test_a_ranks_own_variables_are_filled_in_only_where_they_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    command = "t $RANK $MASTER_PORT"

    assert spec(tmp_path, command=command).command[1:3] == ("$RANK", "4242")
    assert spec(tmp_path, command=command, launcher="own").command[1:3] == ("1", "4242")
    assert spec(tmp_path, command="t $NODE_RANK", launcher="own").command[1] == "1"


def test_ranks_are_numbered_over_all_nodes() -> None:
    assert rank_environment(2, 1, 2, 1) == {
        "RANK": "3",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
    }


@pytest.mark.parametrize(
    ("launcher", "more"),
    [("own", {}), ("plain", {"RANK": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"})],
)
def test_a_command_of_ones_own_sees_its_node_and_no_rank(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launcher: str, more: dict[str, str]
) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "of the node")
    started = started_by(launcher, spec(tmp_path, command="env", launcher=launcher))
    seen = {name: started.get(name) for name in (*OF_A_RANK, "NODE_RANK", "GROUP_RANK")}

    world = {"WORLD_SIZE": "2"} if more else {}
    place = {"NODE_RANK": "1", "GROUP_RANK": "1"}
    assert seen == {**dict.fromkeys(OF_A_RANK), **world, **more, **place}


def test_what_the_scenario_sets_itself_stays_under_own(tmp_path: Path) -> None:
    env = {"LOCAL_RANK": "7", "NODE_RANK": "8"}
    started = started_by("own", spec(tmp_path, command="env", launcher="own", env=env))

    assert (started["LOCAL_RANK"], started["NODE_RANK"]) == ("7", "8")


def started_by(launcher: str, group: GroupSpec) -> dict[str, str]:
    """Start a node's ranks, whose wrapper is left out, and return what the command sees."""
    asked: list[tuple[list[str], dict[str, str]]] = []

    class Client:
        def start(self, _group: str, command: list[str], env: dict[str, str], *_: object) -> None:
            asked.append((command, env))

    own = launcher == "own"
    PlainLauncher(Client(), "/agent.pyz", own=own).launch(group)  # type: ignore[arg-type]
    ((command, env),) = asked
    wrapper = command.index(f"--log-folder={group.log_folder}")
    whole = [*command[: command.index("-I") - 1], *command[wrapper + 2 :]]
    said = subprocess.run(
        whole, env={**os.environ, **env}, capture_output=True, text=True, check=True, timeout=60
    )
    return dict(line.split("=", 1) for line in said.stdout.splitlines() if "=" in line)


def test_the_first_rank_to_fail_ends_the_others() -> None:
    code = "import os, time; os.environ['RANK'] == '1' and os._exit(7); time.sleep(60)"
    environments = [rank_environment(1, 0, 2, rank) for rank in range(2)]
    script = (
        "import sys; from metta_sandbox.node.launchers.plain import run_ranks; "
        f"sys.exit(run_ranks({environments!r}, [sys.executable, '-c', {code!r}]))"
    )
    began = time.monotonic()

    ended = subprocess.run([sys.executable, "-c", script], check=False, timeout=60)

    assert ended.returncode == 7
    assert time.monotonic() - began < 30
    assert run_ranks([], ["true"]) == 0
