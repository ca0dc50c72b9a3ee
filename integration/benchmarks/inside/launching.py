"""On one of our nodes: start trials through the launcher, as the rollout does, and nothing else."""
# ruff: noqa: INP001 - started by its path, in an interpreter that is not ours

import os
import sys
import time
from pathlib import Path
from typing import Any

from answering import serve

from metta_sandbox.node.agent.client import AgentClient
from metta_sandbox.node.launchers.base import GroupSpec, Launcher
from metta_sandbox.node.launchers.torchrun import TorchrunLauncher
from metta_sandbox.node.launchers.warm import WarmLauncher
from metta_sandbox.node.view import NodeView

HERE = Path(__file__).parent
COMMAND = ("python", str(HERE / "ddp.py"))


def refuse(reason: str) -> None:
    """Let no trial pass as warm that is not."""
    raise RuntimeError(reason)


def make(kind: str, view: NodeView) -> Launcher:
    """Make the launcher, and begin to warm it up."""
    client = AgentClient(view.events)
    torchrun = TorchrunLauncher(client, view.agent)
    if kind == "torchrun":
        return torchrun
    warm = WarmLauncher(client, view.agent, cold=torchrun, preload=(), tell=refuse)
    warm.prepare(COMMAND, {})
    return warm


view = NodeView.from_environment()
launcher = make(sys.argv[1], view)


def work(request: dict[str, Any]) -> dict[str, Any]:
    """Run this node's part of one trial."""
    port = request["port"]
    logs = Path(os.environ["HOME"]) / f"trial-{port}"
    logs.mkdir()
    group = launcher.launch(
        GroupSpec(
            group=f"trial-{port}",
            command=COMMAND,
            num_nodes=view.num_nodes,
            node_rank=view.node_rank,
            master_addr=view.master_addr,
            master_port=port,
            log_folder=logs,
            cwd=HERE,
        )
    )
    while (message := group.next(time.monotonic() + 60)) is None or message["type"] != "exit":
        if message is None:
            raise RuntimeError("the trial hangs")
    if message["status"] != 0:
        raise RuntimeError(f"the trial ended with {message}")
    return {}


serve(work)
