"""The file around the operations: imports, ``Run``, the loop, and how the program starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import Template

from fuzz.operations import Operation

_IMPORTS = """
import json
import logging
import multiprocessing
import os
import queue
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.utils.data
from torch.nn.parallel import DistributedDataParallel

STEPS = $steps
FLAGS = Path(__file__).with_name("flags")


class DataError(Exception):
    pass

"""
_MAIN = """\"\"\"A small training script.\"\"\"
$imports
$defined

class Run:
    \"\"\"What all steps work with.\"\"\"

    def __init__(self):
        rank = int(os.environ["RANK"])
        @main.start|rank|
        dist.init_process_group("gloo")  #: main.meet
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.group = $group
        self.seen = {}
        self.failed = False
        self.model = None
$setup        @main.ready|self.rank|

    def note(self, name, value):
        self.seen[name] = value


def one_step(run, step):
$calls

def fit(run):
    steps = STEPS
    @main.steps|run.rank|
    for step in range(steps):
        @main.loop|run.rank|step
        one_step(run, step)
        time.sleep(0.03)
$told$finals
$guard
def train():
    run = Run()
    $fit
    if run.rank == 0:
        print("trained:", json.dumps(run.seen))
    run.model = run.group = None
    dist.destroy_process_group()


$start
"""
_TOLD = {
    "": "",
    "first": '        if run.rank == 0:\n            print("step", step, "done", flush=True)\n',
    "all": '        print(f"rank {run.rank}: step {step} of {STEPS}", flush=True)\n',
}
_FIT = {
    "main": "fit(run)",
    "thread": 'trainer = threading.Thread(target=guarded, args=(run,), name="fit")\n'
    "    trainer.start()\n    trainer.join()  #: main.join\n"
    "    if run.failed:\n        sys.exit(1)",
    "future": "with ThreadPoolExecutor(1) as pool:\n"
    "        pool.submit(fit, run).result()  #: main.join",
}
_GUARD = """
def guarded(run):
    try:
        fit(run)
    except BaseException:
        run.failed = True
        raise

"""
_START = 'if __name__ == "__main__":\n    train()'
_SPAWN = """def start(local):
    each = $each
    os.environ["RANK"] = str(int(os.environ["NODE_INDEX"]) * each + local)
    os.environ["WORLD_SIZE"] = str(int(os.environ["NUM_NODES"]) * each)
    os.environ["LOCAL_RANK"] = str(local)
    train()


if __name__ == "__main__":
    torch.multiprocessing.spawn(start, nprocs=$each)"""


@dataclass(frozen=True)
class Style:
    """How a program is written, whatever it does."""

    steps: int
    #: Who trains: ``main``, ``thread`` or ``future``.
    fit: str
    #: Who prints its steps: nobody, ``first`` or ``all``.
    told: str
    #: Seconds that a group of its own waits; None: the default group and its half an hour.
    patience: int | None
    #: Whether some functions live in ``steps.py``.
    apart: bool
    spawns: bool
    each: int


def templates(
    style: Style, loop: Sequence[Operation], finals: Sequence[Operation]
) -> dict[str, str]:
    """Make the templates of all files, by name."""
    every = [*loop, *finals]
    imports = Template(_IMPORTS).substitute(steps=style.steps)
    moved = [one for one in loop[1::2] if style.apart]
    files = {}
    if moved:
        files["steps.py"] = imports + "".join("\n" + one.template for one in moved)
        names = [f"from steps import {one.name}{_classes(one)}" for one in moved]
        imports += "\n".join(names) + "\n"
    group = "None"
    if style.patience is not None:
        group = f"dist.new_group(timeout=timedelta(seconds={style.patience}))"
    finals_called = "".join(f"    {one.name}(run, steps)\n" for one in finals)
    start = Template(_SPAWN).substitute(each=style.each) if style.spawns else _START
    files["train.py"] = Template(_MAIN).substitute(
        imports=imports,
        defined="".join("\n" + one.template for one in every if one not in moved),
        group=group,
        setup="".join(one.setup for one in every),
        calls="".join(f"    {one.name}(run, step)\n" for one in loop),
        told=_TOLD[style.told],
        finals=finals_called,
        guard=_GUARD if style.fit == "thread" else "",
        fit=_FIT[style.fit],
        start=start,
    )
    children = [one.child for one in every if one.child]
    return files | ({"child.py": children[0]} if children else {})


def _classes(one: Operation) -> str:
    """Name what else ``Run`` needs of an operation's module."""
    lines = one.template.splitlines()
    names = [line.split()[1].split("(")[0].rstrip(":") for line in lines if _defines(line)]
    return "".join(f", {name}" for name in names if name != one.name)


def _defines(line: str) -> bool:
    return line.startswith(("class ", "def "))
