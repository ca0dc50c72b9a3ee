"""Who a rank is, read from its environment."""

from __future__ import annotations

import pytest

from metta_sandbox.errors import InputError, MachineError
from metta_sandbox.node.arena.world import World

_TWO = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


def test_alone_without_an_environment() -> None:
    world = World.from_environment({})
    world.join()
    world.wait_for_all()
    assert world == World(rank=0, size=1)
    assert world.mean({"loss": 2.0}) == {"loss": 2.0}
    assert world.from_rank_0("mine") == "mine"


def test_what_torchrun_sets_is_read() -> None:
    world = World.from_environment({**_TWO, "RANK": "1", "LOCAL_RANK": "1"})
    assert world == World(rank=1, size=2, local_rank=1, gpu=False)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"WORLD_SIZE": "2"}, "MASTER_ADDR and MASTER_PORT not set"),
        ({**_TWO, "MASTER_PORT": ""}, "but MASTER_PORT not set"),
        ({**_TWO, "RANK": "2"}, "RANK=2 is not in a world of WORLD_SIZE=2"),
        ({**_TWO, "RANK": "one"}, "RANK='one' in the environment is not a number"),
    ],
)
def test_an_environment_that_makes_no_sense_is_refused(environ: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        World.from_environment(environ)


def test_gpus_that_are_not_there_are_the_machines_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(MachineError, match="no CUDA device 0"):
        World.from_environment({"METTA_HARDWARE": "gpu"}).join()
