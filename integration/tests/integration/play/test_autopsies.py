"""Trainers that somebody edited to misbehave: the one to blame is named, and who waits for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ruamel.yaml import YAML

from metta_sandbox.report.results import ScenarioResult

if TYPE_CHECKING:
    from tests.integration.play.conftest import Start

Named = Callable[..., tuple[ScenarioResult, Path, str]]
TRAINER = """\
import os, signal, sys, threading, time
import torch
import torch.distributed as dist

dist.init_process_group("gloo")
x = torch.ones(4)
for step in range(8):
    if dist.get_rank() == 1 and step == 5:
        {fault}
    if dist.get_rank() == 0 and step == 5:
        {other}
    dist.all_reduce(x)
    x /= 2
print("loss=1.5")
"""
WAITS = "train.py:12"


@pytest.fixture
def named(cli: Start, tmp_path: Path) -> Named:
    def play(
        fault: str, other: str = "pass", *said: str, **env: str
    ) -> tuple[ScenarioResult, Path, str]:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "train.py").write_text(TRAINER.format(fault=fault, other=other))
        trainer = {
            "command": "python train.py",
            "launcher": "warm",
            "score": {"source": "log", "pattern": "loss=(.*)"},
        }
        content = {
            "version": 1,
            "name": "edited",
            "longest_silence": "20s",
            "sweep": {"trials": 1},
            "workload": {"folder": str(tmp_path / "mine"), "trainer": trainer, "env": env},
        }
        YAML(typ="safe", pure=True).dump(content, tmp_path / "edited.yaml")
        command = cli("run", tmp_path / "edited.yaml", "--engine", "process", *said)
        command.wait()
        (scenario,) = command.results().scenarios
        return scenario, command.folder, command.text

    return play


@pytest.mark.parametrize(
    ("fault", "kind", "call"),
    [
        ("dist.barrier()", "collective mismatch", "`barrier`, train.py:9"),
        pytest.param(
            "os.kill(os.getpid(), signal.SIGSTOP)",
            "stopped",
            "train.py:9",
            marks=pytest.mark.slow,  # and among all that are known
        ),
        pytest.param("time.sleep(900)", "straggler", "train.py:9", marks=pytest.mark.slow),
        pytest.param(
            "threading.Semaphore(0).acquire()",
            "waiting for a lock",
            "`Semaphore.acquire`, train.py:9",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["mismatch", "stopped", "asleep", "locked"],
)
def test_a_hang_names_the_guilty_rank_its_call_and_who_waits(
    named: Named, fault: str, kind: str, call: str
) -> None:
    scenario, folder, text = named(fault)
    assert scenario.verdict == "failed"
    (cause,) = scenario.causes
    assert (cause.kind, cause.rank, cause.node, cause.trial) == (kind, 1, "sweep-worker", 1)
    assert cause.call == call
    assert [(one.rank, one.call) for one in cause.waiting] == [(0, f"`all_reduce`, {WAITS}")]
    assert f"cause: {cause.sentence}" in text
    assert cause.sentence in (folder / "summary.md").read_text().replace("\\", "")
    (look,) = json.loads((folder / "edited" / "autopsy.json").read_text())["looks"]
    assert set(look["nodes"]) == {"sweep-master", "sweep-worker"}
    assert not list((folder / "edited" / "shared").glob(".autopsy*"))


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ("raise ValueError('enough')", "exception", "raised ValueError: enough"),
        pytest.param(
            "os.kill(os.getpid(), signal.SIGKILL)",
            "process died",
            "was killed by signal 9 (SIGKILL)",
            marks=pytest.mark.slow,
        ),
        pytest.param("break", "collective mismatch", "ended with status 0", marks=pytest.mark.slow),
    ],
    ids=["raised", "killed", "left-early"],
)
def test_a_death_names_who_died_first_and_who_was_left(
    named: Named, fault: str, kind: str, said: str
) -> None:
    scenario, _, _ = named(fault)
    (cause,) = scenario.causes
    assert (cause.kind, cause.rank, cause.node, cause.trial) == (kind, 1, "sweep-worker", 1)
    assert said in cause.sentence
    assert [(one.rank, one.left) for one in cause.waiting] == [(0, True)]


def test_one_that_notices_no_death_is_asked_where_it_waits_before_it_is_stopped(
    named: Named,
) -> None:
    # The others come together at rank 0's own store, which tells it of nobody's end.
    scenario, folder, _ = named("raise ValueError('enough')", "dist.new_group()")
    (cause,) = scenario.causes
    assert (cause.kind, cause.rank, cause.trial) == ("exception", 1, 1)
    assert [(one.rank, one.call, one.left) for one in cause.waiting] == [
        (0, "`new_group`, train.py:11", False)
    ]
    assert cause.sentence.endswith("; rank 0 waits in `new_group`, train.py:11")
    looks = json.loads((folder / "edited" / "autopsy.json").read_text())["looks"]
    assert {host for look in looks for host in look["nodes"]} == {"sweep-master"}


COMMAND = """\
import os, subprocess, sys, time

subprocess.run([sys.executable, "train.py"])
time.sleep(900)
"""
OWN = """\
import os, signal
import torch
import torch.distributed as dist

dist.init_process_group("gloo")
x = torch.ones(4)
dist.all_reduce(x)
if dist.get_rank() == 1:
    {fault}
{call}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "call", "kind", "said"),
    [
        ("raise ValueError('enough')", "dist.all_reduce(x)", "exception", "ValueError: enough"),
        ("raise ValueError('enough')", "dist.new_group()", "exception", "ValueError: enough"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "dist.new_group()", "process died", "train.py of"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "dist.all_reduce(x)", "process died", "a program"),
    ],
    ids=["raised-noticed", "raised-waited-for", "killed-waited-for", "killed-noticed"],
)
def test_a_command_of_the_users_that_goes_on_without_its_trainer_is_looked_into(
    cli: Start, tmp_path: Path, fault: str, call: str, kind: str, said: str
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "run.py").write_text(COMMAND)
    (tmp_path / "mine" / "train.py").write_text(OWN.format(fault=fault, call=call))
    content = {
        "version": 1,
        "name": "own",
        "longest_silence": "20s",
        "workload": {"folder": str(tmp_path / "mine"), "run": "echo begins\npython run.py"},
    }
    YAML(typ="safe", pure=True).dump(content, tmp_path / "own.yaml")
    command = cli("run", tmp_path / "own.yaml", "--engine", "process")
    command.wait()
    (scenario,) = command.results().scenarios
    (cause,) = scenario.causes
    assert (cause.kind, cause.rank, cause.node) == (kind, 1, "sweep-worker")
    assert said in cause.sentence


@pytest.mark.slow
def test_calls_of_c_are_kept_where_they_are_wanted_and_told_of_where_they_are_not_there(
    named: Named,
) -> None:
    fault = "os.kill(os.getpid(), signal.SIGSTOP)"
    scenario, folder, _ = named(fault, "pass", "--native-stacks")
    (cause,) = scenario.causes
    assert (cause.kind, cause.rank) == ("stopped", 1)
    assert [(one.rank, one.call) for one in cause.waiting] == [(0, f"`all_reduce`, {WAITS}")]
    (look,) = json.loads((folder / "edited" / "autopsy.json").read_text())["looks"]
    told = {
        one["native_problem"] or call
        for node in look["nodes"].values()
        for one in node["processes"]
        for thread in one["threads"]
        for call in thread["native"] or [""]
    }
    assert any("libtorch" in one for one in told)
    assert "train.py:12" in " ".join(told)
    assert "it is stopped" in told
    assert "no native stack" in (folder / "edited" / "timeline.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("detail", ["DETAIL", "OFF"])
def test_the_rank_that_went_another_way_is_named_whatever_pytorch_says_of_it(
    named: Named, detail: str
) -> None:
    # With DETAIL both ranks raise an error that says that they differ.
    scenario, _, _ = named("dist.barrier()", TORCH_DISTRIBUTED_DEBUG=detail)
    (cause,) = scenario.causes
    assert (cause.kind, cause.rank) == ("collective mismatch", 1)
    assert "is at `barrier`, train.py:9 where `all_reduce`, train.py:12 was due" in cause.sentence


#: The hand-off of a rollout that makes a group for each value that rank 0 gives to all.
HAND_OFF = """\
import os
import torch.distributed as dist

def run_once(value):
    size, rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
    dist.init_process_group("gloo", init_method="env://", world_size=size, rank=rank)
    result = [value]
    dist.broadcast_object_list(result, src=0)
    dist.destroy_process_group()

for number in range(3):
    run_once(number)
"""


def test_who_came_to_the_store_of_the_last_hand_off_is_named(cli: Start, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "rollout.py").write_text(HAND_OFF)
    closing = {"event": "group.closing", "rank": 0, "where": {"number": 1}}
    content = {
        "version": 1,
        "name": "closing",
        "longest_silence": "20s",
        "workload": {"folder": str(tmp_path / "mine"), "run": "python rollout.py"},
        "faults": [
            {"pause": {"node": "sweep-master"}, "when": closing, "until": {"after": "4s"}},
        ],
    }
    YAML(typ="safe", pure=True).dump(content, tmp_path / "closing.yaml")

    command = cli("run", tmp_path / "closing.yaml", "--engine", "process")
    command.wait()

    (scenario,) = command.results().scenarios
    assert scenario.causes, command.text
    assert scenario.causes[0].sentence.startswith(
        "rank 1 (sweep-worker) connected to the store of hand-off 1 that rank 0 was closing"
    )
