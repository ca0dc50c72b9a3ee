"""What ranks that a launcher of the user's own starts tell of their lives, with a real torch."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from metta_sandbox.autopsy.calls import call_of
from metta_sandbox.autopsy.lives import read_lives
from metta_sandbox.autopsy.seen import RecordedLife
from metta_sandbox.node.agent.injection.hook import exported
from metta_sandbox.stack.agent_app import install

#: Seconds for imports of torch on a machine that has much else to do.
_PATIENCE = 240.0

#: What a rank may run in has nothing of this package, other than where these tests do.
_HIDES = "import sys; sys.modules['metta_sandbox'] = None; "
_TORCHRUN = """\
import torch, torch.distributed as dist

def trains():
    x = torch.ones(3)
    dist.all_reduce(x, op=dist.ReduceOp.MAX)
    if dist.get_rank() == 0:
        dist.send(x, 1)
    else:
        dist.recv(x, 0)
        raise KeyError("DATASET")
    group = dist.new_group([0])
    dist.broadcast(x, 0)

dist.init_process_group("gloo")
trains()
"""
_CALLS = """\
import os, signal, torch, torch.distributed as dist

dist.init_process_group("gloo")
rank, x = dist.get_rank(), torch.ones(2, 3)
dist.send(x, 1) if rank == 0 else dist.recv(x, 0)
two = lambda *shape: [torch.ones(*shape) for _ in range(2)]
dist.all_reduce(x.double(), op=dist.ReduceOp.MAX)
dist.broadcast(x, 0)
dist.reduce(x, 1)
dist.all_gather(two(2, 3), x)
dist.all_gather_into_tensor(torch.empty(4, 3), x)
dist.gather(x, two(2, 3) if rank == 0 else None, 0)
dist.scatter(x, two(2, 3) if rank == 1 else None, 1)
dist.all_to_all(two(3), two(3))
dist.all_to_all_single(torch.empty(4), torch.ones(4))
dist.barrier()
if rank == 1:
    END
"""
_MONITORED = """\
import os, signal, torch, torch.distributed as dist

dist.init_process_group("gloo")
dist.monitored_barrier()
dist.all_reduce(torch.ones(3))
if dist.get_rank() != 2:
    os.kill(os.getpid(), signal.SIGKILL)
"""
_SPAWN = """\
import os, sys, torch, torch.distributed as dist, torch.multiprocessing as mp

def trains(rank, port):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    dist.all_reduce(torch.ones(3))
    raise ValueError(f"of rank {rank}")

if __name__ == "__main__":
    mp.spawn(trains, args=(sys.argv[1],), nprocs=2)
"""
_LOADER = """\
import torch.utils.data as data

class Broken(data.Dataset):
    def __len__(self): return 4
    def __getitem__(self, number): return 1 // (2 - number)

for batch in data.DataLoader(Broken(), num_workers=1):
    pass
"""


def lives_of(folder: Path, command: str, script: str) -> tuple[RecordedLife, ...]:
    """Run a script as a task's own bash does, and give what its processes told."""
    app, run_folder = install(folder / "app"), folder / "run"
    run_folder.mkdir()
    (folder / "train.py").write_text(_HIDES + script)
    dropped = ("PYTHONPATH", "RANK", "WORLD_SIZE")
    environ = {key: os.environ[key] for key in os.environ if key not in dropped}
    node = {"METTA_AGENT": str(app), "METTA_NODE": "n", "METTA_RUN_FOLDER": str(run_folder)}
    subprocess.run(
        ["bash", "-c", f"{exported()}{command}"],
        env={**environ, **node, "METTA_EVENTS": "x"},
        cwd=folder,
        check=False,
        capture_output=True,
        timeout=_PATIENCE,
    )
    return read_lives(run_folder, "n")


def kinds(life: RecordedLife) -> list[str]:
    return [one.kind for one in life.exception.chain] if life.exception else []


def test_ranks_of_torchrun(tmp_path: Path) -> None:
    command = "torchrun --standalone --nproc-per-node=2 train.py"
    lives = lives_of(tmp_path, command, _TORCHRUN)
    ranks = {one.environ["RANK"]: one for one in lives if "RANK" in one.environ}
    launcher = next(one for one in lives if "RANK" not in one.environ)
    assert kinds(ranks["1"]) == ["KeyError"]
    assert ranks["1"].exception is not None
    assert ranks["1"].exception.chain[0].frames[0].place == "train.py:10"
    assert (ranks["1"].pid, 1) in [(one.pid, one.status) for one in launcher.reaped]
    (world,) = ranks["1"].groups
    assert (world.size, world.rank, world.backend) == (2, 1, "gloo")
    assert world.port == ranks["1"].environ["MASTER_PORT"]
    assert world.done_time is not None
    told = ranks["1"].recorded
    assert told is not None
    assert [(one.name, one.op, one.p2p, one.peer) for one in told.entries] == [
        ("all_reduce", "MAX", False, None),
        ("recv", "", True, 0),
    ]
    assert (told.entries[0].dtypes, told.entries[0].group_ranks) == (("Float",), (0, 1))
    assert told.stacks[told.entries[1].stack][-1].function == "<module>"
    # Ended by torchrun, or by the connection that broke.
    assert ranks["0"].terminated or kinds(ranks["0"])


def test_ranks_of_spawn(tmp_path: Path) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
    lives = lives_of(tmp_path, f"python train.py {port}", _SPAWN)
    ranks = [one for one in lives if "MASTER_PORT" in one.changed]
    assert {one.groups[0].rank for one in ranks} == {0, 1}
    for one in ranks:
        assert one.groups[0].size == 2
        assert kinds(one) in (["ValueError"], ["RuntimeError"], [])
    assert any(kinds(one) for one in ranks)


def test_a_workers_own_error_is_in_what_its_rank_raised(tmp_path: Path) -> None:
    lives = lives_of(tmp_path, "python train.py", _LOADER)
    trainer = next(one for one in lives if one.argv[-1] == "train.py" and one.exception)
    assert trainer.exception is not None
    message = trainer.exception.chain[-1].message
    assert message.startswith("Caught ZeroDivisionError in DataLoader worker process 0.")
    assert "ZeroDivisionError: integer division or modulo by zero" in message
    workers = [one for one in lives if one.parent == trainer.pid]
    assert workers
    assert {one.pid for one in trainer.reaped} <= {one.pid for one in workers}


@pytest.mark.parametrize("end", ["raise SystemExit(0)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_the_last_collectives_are_known_whatever_ended_a_rank(tmp_path: Path, end: str) -> None:
    lives = lives_of(
        tmp_path, "torchrun --standalone --nproc-per-node=2 train.py", _CALLS.replace("END", end)
    )
    recorded = next(one.recorded for one in lives if one.environ.get("RANK") == "1")
    assert recorded is not None
    assert recorded.partial is ("SIGKILL" in end)
    told = [
        (one.number, one.name, one.sizes, one.dtypes, one.root, one.op, one.group_ranks)
        for one in recorded.entries
        if not one.p2p
    ]
    assert told == [
        (1, "all_reduce", ((2, 3),), ("Double",), None, "MAX", (0, 1)),
        (2, "broadcast", ((2, 3),), ("Float",), 0, "", (0, 1)),
        (3, "reduce", ((2, 3),), ("Float",), 1, "SUM", (0, 1)),
        (4, "all_gather", ((2, 3),), ("Float",), None, "", (0, 1)),
        (5, "all_gather", ((2, 3),), ("Float",), None, "", (0, 1)),
        (6, "gather", ((2, 3),), ("Float",), 0, "", (0, 1)),
        (7, "scatter", ((2, 2, 3),), ("Float",), 1, "", (0, 1)),
        (8, "all_to_all", ((3,), (3,)), ("Float", "Float"), None, "", (0, 1)),
        (9, "all_to_all", ((4,),), ("Float",), None, "", (0, 1)),
        (10, "barrier", (), (), None, "", (0, 1)),
    ]
    assert {str(call_of(one)).partition(", ")[2] for one in recorded.stacks} >= {"train.py:7"}


def test_a_monitored_barrier_counts_the_same_on_each_rank_and_to_torchs_recorder(
    tmp_path: Path,
) -> None:
    lives = lives_of(tmp_path, "torchrun --standalone --nproc-per-node=3 train.py", _MONITORED)
    ranks = {one.environ["RANK"]: one for one in lives if one.environ.get("RANK")}
    assert len(ranks) == 3
    recorded = [one.recorded for one in ranks.values() if one.recorded]
    assert {told.partial for told in recorded} >= {True}
    called = [[(one.number, one.name) for one in told.entries] for told in recorded]
    assert called == [[(1, "monitored_barrier"), (3, "all_reduce")]] * 3
