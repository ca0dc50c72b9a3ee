"""The floor: fork the ranks from this process, which has imported torch; nothing else."""
# ruff: noqa: INP001 - started by its path, in an interpreter that is not ours

import os
import runpy
import sys
from typing import Any, NoReturn

import torch._dynamo
import torch.distributed
import torch.nn.parallel
import torch.optim
from answering import serve

RANKS = 2


def become(rank: int, port: int, script: str) -> NoReturn:
    """Be one rank. Its objects are not torn down, which hangs some forks of processes with gloo."""
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(RANKS),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    sys.argv[:] = [script]
    status = 1
    kept: list[Any] = []
    make = torch.distributed.Reducer

    def make_and_keep(*args: Any, **kwargs: Any) -> Any:
        kept.append(make(*args, **kwargs))
        return kept[-1]

    torch.distributed.Reducer = make_and_keep
    try:
        kept.append(runpy.run_path(script, run_name="__main__"))
        status = 0
    finally:
        sys.stdout.flush()
        os._exit(status)


def work(request: dict[str, Any]) -> dict[str, Any]:
    """Run one trial."""
    pids = []
    for rank in range(RANKS):
        pid = os.fork()
        if pid == 0:
            become(rank, request["port"], request["script"])
        pids.append(pid)
    statuses = [os.waitpid(pid, 0)[1] for pid in pids]
    if any(statuses):
        raise RuntimeError(f"the ranks ended with {statuses}")
    return {}


serve(work)
