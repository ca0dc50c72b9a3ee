"""What ranks tell of the collectives that they have entered, while they hang and at their end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metta_sandbox.autopsy.calls import call_of
from metta_sandbox.autopsy.seen import Recorded
from metta_sandbox.node.agent.injection.hook import with_hook
from metta_sandbox.node.agent.recorder.asking import answers, ask
from metta_sandbox.stack.agent_app import install

_TRAINER = """\
import json, os, sys, threading
import torch
import torch.distributed as dist

print(json.dumps({
    "threads": [each.name for each in threading.enumerate()],
    "modules": [each for each in sys.modules if each.startswith("metta_sandbox")],
    "path": os.environ.get("PYTHONPATH"),
}), flush=True)
rank, store = int(os.environ["RANK"]), f"file://{sys.argv[1]}"
dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
x = torch.ones(3)
dist.all_reduce(x)
print("entered", flush=True)
if rank == 0:
    dist.barrier()
sys.stdin.readline()
raise ValueError("enough")
"""
#: Seconds for two imports of torch on a machine that has much else to do.
_PATIENCE = 120.0


@pytest.fixture
def ranks(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    app = install(tmp_path / "app")
    (tmp_path / "train.py").write_text(_TRAINER)
    command = [sys.executable, str(tmp_path / "train.py"), str(tmp_path / "store")]
    own = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    started = []
    for rank in ("0", "1"):
        mine = {"RANK": rank, "METTA_EVENTS": "x"}
        env = with_hook({**own, **mine, "METTA_TRIAL_DIR": str(tmp_path)}, str(app))
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        started.append(
            subprocess.Popen(command, env=env, text=True, stderr=subprocess.DEVNULL, **pipes)
        )
    yield started
    for each in started:
        each.kill()
        each.communicate()


def told_by(rank: subprocess.Popen[str]) -> Recorded:
    deadline = time.monotonic() + _PATIENCE
    while rank.pid not in (told := answers(ask([rank.pid]))):
        assert time.monotonic() < deadline
    return Recorded.model_validate(told[rank.pid])


def test_ranks_tell_what_they_have_entered_and_nobody_sees_that_they_can(
    ranks: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    for each in ranks:
        assert each.stdout is not None
        seen = json.loads(each.stdout.readline())
        assert seen == {"threads": ["MainThread"], "modules": [], "path": None}
        assert each.stdout.readline() == "entered\n"
    deadline = time.monotonic() + _PATIENCE
    while len((waiting := told_by(ranks[0])).entries) < 2:
        assert time.monotonic() < deadline
    assert [(one.number, one.name) for one in waiting.entries] == [
        (1, "all_reduce"),
        (2, "barrier"),
    ]
    assert waiting.entries[0].sizes == ((3,),)
    assert [str(call_of(one)) for one in waiting.stacks] == [
        "`all_reduce`, train.py:13",
        "`barrier`, train.py:16",
    ]
    assert [one.name for one in told_by(ranks[1]).entries] == ["all_reduce"]

    ranks[1].communicate("go on\n", timeout=_PATIENCE)
    assert ranks[1].returncode == 1
    kept = Recorded.model_validate_json((tmp_path / "flight-1.json").read_bytes())
    assert [one.name for one in kept.entries] == ["all_reduce"]


def test_who_does_not_tell_is_not_waited_for() -> None:
    assert ask([os.getpid()]) == {}
