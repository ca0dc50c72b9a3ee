"""A program as a scenario of the sandbox."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from fuzz.program import RandomProgram
from fuzz.rehearse import put

_TORCHRUN = (
    "--nnodes={nodes} --node-rank={node} --nproc-per-node=%d "
    "--master-addr=$MASTER_ADDR --master-port=$MASTER_PORT train.py"
)
_OURS = {"nodes": "$NUM_NODES", "node": "$NODE_INDEX"}
_TASK = {"nodes": "$SKYPILOT_NUM_NODES", "node": "$SKYPILOT_NODE_RANK"}


def stage(program: RandomProgram, folder: Path, *, slower: float = 1) -> Path:
    """Write a scenario file and its program's folder; returns the file.

    ``slower`` multiplies how long it may be silent, for a machine that is loaded.
    """
    put(program, folder / program.name)
    file = folder / f"{program.name}.yaml"
    YAML().dump(scenario(program, slower=slower), file)
    return file


def scenario(program: RandomProgram, *, slower: float = 1) -> dict[str, Any]:
    """Make the scenario that plays a program once."""
    deadline = f"{(60 + 4 * program.silence) * slower:g}s"
    return {
        "version": 1,
        "name": program.name,
        "nodes": program.nodes,
        "longest_silence": f"{program.silence * slower:g}s",
        "deadline": deadline,
        # What is planted comes after the hand-off.
        "handoff_timeout": deadline,
        "sweep": {"trials": 1, "strategy": "random", "metric": "loss"},
        "workload": {"folder": program.name} | _how(program),
    }


def _how(program: RandomProgram) -> dict[str, Any]:
    launcher, torchrun = program.launcher, _TORCHRUN % program.each
    if launcher == "run torchrun":
        return {"run": "torchrun " + torchrun.format(**_TASK)}
    if launcher == "run shell":
        return {"run": "bash train.sh"}
    command = "python train.py"
    if launcher == "own torchrun":
        command = "python -m torch.distributed.run " + torchrun.format(**_OURS)
    owned = launcher.startswith("own")
    trainer = {
        "command": command,
        "launcher": "own" if owned else launcher,
        "score": {"source": "none"},
    }
    return {"trainer": trainer if owned else trainer | {"ranks_per_node": program.each}}
