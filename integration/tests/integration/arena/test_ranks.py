"""Real ranks in processes of their own: the process group, its end, and what each leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from metta_sandbox.node.arena import checkpoint
from metta_sandbox.ports import HeldPort

_MODULE = ["-m", "metta_sandbox.node.arena"]
_SMALL = (
    "trainer.total_timesteps=256",
    "trainer.batch_size=64",
    "trainer.bptt_horizon=2",
    "trainer.checkpoint_interval=2",
)
#: Raises on rank 1 when it is about to play its second iteration.
_RAISE = """
import os, metta_sandbox.node.arena.train as train
from metta_sandbox.node.arena.__main__ import run
play = train.play
def falter(*args, rank, iteration):
    if (rank, iteration) == (1, 2):
        raise RuntimeError("rank 1 falters")
    return play(*args, rank=rank, iteration=iteration)
train.play = falter
run()
"""


def _environment(trial: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "METTA_TRIAL_DIR": str(trial), **more}


@contextmanager
def _started(trial: Path, *arguments: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Start two ranks without torchrun, as any launcher might, and leave none behind."""
    port = HeldPort()
    meet = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port.number)}
    ranks = [
        subprocess.Popen(
            [sys.executable, *arguments],
            env=_environment(trial, RANK=str(rank), LOCAL_RANK="0", **meet),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        yield ranks
    finally:
        port.release()
        for rank in ranks:
            rank.kill()
        for rank in ranks:
            rank.communicate()


def _ranks(trial: Path, *arguments: str) -> list[subprocess.CompletedProcess[str]]:
    """Start two ranks and wait for their end."""
    with _started(trial, *arguments) as ranks:
        said = [rank.communicate(timeout=120) for rank in ranks]
        return [
            subprocess.CompletedProcess(rank.args, rank.returncode, *texts)
            for rank, texts in zip(ranks, said, strict=True)
        ]


def _events(printed: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]


def _digests(trial: Path) -> list[str]:
    return [(trial / f"rank-{rank}.digest").read_text() for rank in range(2)]


def test_fifty_steps_under_torchrun(tmp_path: Path) -> None:
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *_MODULE]
    done = subprocess.run(
        [sys.executable, *command, "trainer.total_timesteps=50"],
        env=_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second = _digests(tmp_path)
    assert first == second
    events = _events(done.stdout)
    for rank in (0, 1):
        mine = [event for event in events if event["rank"] == rank]
        names = [event["event"] for event in mine if event["event"] != "checkpoint.saved"]
        assert names == ["train.started", "train.step", "train.finished"]
        assert mine[-1]["digest"] == first.strip()
        assert mine[-1]["agent_steps"] == 64
        assert f"rank {rank}: finished" in done.stdout
    assert [e["rank"] for e in events if e["event"] == "checkpoint.saved"] == [0]
    assert "Traceback" not in done.stderr


def test_two_ranks_killed_in_mid_training_end_like_undisturbed_ones(tmp_path: Path) -> None:
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    with _started(killed, *_MODULE, *_SMALL, "trainer.total_timesteps=1e6") as ranks:
        assert ranks[0].stdout is not None
        for line in ranks[0].stdout:
            if line.startswith("{") and json.loads(line)["event"] == "checkpoint.saved":
                break
    assert not list(killed.glob("*.digest"))
    step = checkpoint.load(killed / "checkpoint.pt").step

    enough = f"trainer.total_timesteps={64 * (step + 2)}"
    ends = _ranks(killed, *_MODULE, *_SMALL, enough)
    assert [end.returncode for end in ends] == [0, 0], ends
    assert [_events(end.stdout)[0]["step"] for end in ends] == [step, step]
    ends = _ranks(undisturbed, *_MODULE, *_SMALL, enough)
    assert len(set(_digests(killed) + _digests(undisturbed))) == 1
    losses = [
        [event["loss"] for event in _events(end.stdout) if event["event"] == "train.step"]
        for end in ends
    ]
    assert len(losses[0]) == step + 2
    assert losses[0] == losses[1]


def test_a_raise_on_one_rank_ends_both_with_status_1(tmp_path: Path) -> None:
    ends = _ranks(tmp_path, "-c", _RAISE, *_SMALL)
    assert [end.returncode for end in ends] == [1, 1]
    assert "RuntimeError: rank 1 falters" in ends[1].stderr
    assert "Traceback" in ends[1].stderr
    assert "rank 1 falters" not in ends[0].stderr
    assert not list(tmp_path.glob("*.digest"))


def test_a_checkpoint_that_does_not_fit_is_refused_by_every_rank(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"damaged")
    ends = _ranks(tmp_path, *_MODULE, *_SMALL)
    assert [end.returncode for end in ends] == [2, 2]
    for end in ends:
        assert f"{tmp_path / 'checkpoint.pt'}: not a checkpoint" in end.stderr
        assert "Traceback" not in end.stderr


@pytest.mark.parametrize(
    ("overrides", "environ", "said"),
    [
        (["trainer.total_timestep=5"], {}, "did you mean trainer.total_timesteps?"),
        ([], {"WORLD_SIZE": "2"}, "MASTER_ADDR and MASTER_PORT not set"),
    ],
)
def test_wrong_input_is_status_2_without_a_traceback(
    tmp_path: Path, overrides: list[str], environ: dict[str, str], said: str
) -> None:
    done = subprocess.run(
        [sys.executable, *_MODULE, *overrides],
        env=_environment(tmp_path, **environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_alone_and_without_a_trial_folder(tmp_path: Path) -> None:
    environ = _environment(tmp_path)
    del environ["METTA_TRIAL_DIR"]
    done = subprocess.run(
        [sys.executable, *_MODULE, "run=lonely", "trainer.total_timesteps=50"],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "train_dir" / "lonely" / "checkpoint.pt").exists()
