"""Cells of the grown corpus: a way of going wrong, and how it is started."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from autopsies.ways import TRAINERS, WAYS, Way

#: Nodes, and ranks of each.
SHAPES = ((2, 1), (3, 1), (4, 1), (1, 2), (2, 2))
#: What is not in the nodes' own environment, so that they get one laid over it.
_SMALL = "einops==0.8.1"
_ACCELERATE = "accelerate==1.12.0"
_DISTRIBUTED = (
    "{start} --nnodes=$NUM_NODES --node-rank=$NODE_INDEX --nproc-per-node={each} "
    "--master-addr=$MASTER_ADDR --master-port=$MASTER_PORT {more}{script}"
)
_ACCELERATED = (
    "accelerate launch --multi_gpu --num_processes={ranks} --num_machines=$NUM_NODES "
    "--machine_rank=$NODE_INDEX --main_process_ip=$MASTER_ADDR --main_process_port=$MASTER_PORT "
    "--mixed_precision=no --dynamo_backend=no {script}"
)
_TORCHRUN = _DISTRIBUTED.replace("{start}", "torchrun")
_MODULE = _DISTRIBUTED.replace("{start}", "python -m torch.distributed.run")
#: Under our rollout: the launcher, and the command.
_TRAINERS = {
    "warm": ("warm", "python {script}"),
    "plain": ("plain", "python {script}"),
    "torchrun": ("torchrun", "python {script}"),
    "own": ("own", _MODULE),
    "accelerate": ("own", _ACCELERATED),
    "spawn": ("own", "python spawned.py {script} {each}"),
    "shell": ("own", "bash train.sh {script} {each}"),
}
#: In place of our rollout.
_RUNS = {
    "run": _TORCHRUN,
    "run-accelerate": _ACCELERATED,
    "run-shell": "bash train.sh {script} {each}",
}
LAUNCHERS = (*_TRAINERS, *_RUNS)
ENGINES = ("process", "compose")
#: Seconds without a sign of life after which it is looked into; an interpreter that imports torch
#: gives none.
_SILENCE_WARM = 30
_SILENCE = 60


@dataclass(frozen=True)
class AutopsyCell:
    """A way of going wrong, and how it is started.

    Args:
        way: What goes wrong.
        launcher: Who starts the ranks.
        engine: What the nodes are.
        nodes: How many.
        each: Ranks of a node.
        odd: The rank with which something is wrong.
        events: Whether the trainer tells its steps to us, too.
        thread: Whether it trains in a thread.
        overlay: Whether it has requirements of its own.

    """

    way: Way
    launcher: str
    engine: str = "process"
    nodes: int = 2
    each: int = 1
    odd: int = 1
    events: bool = False
    thread: bool = False
    overlay: bool = False

    @property
    def ranks(self) -> int:
        """How many ranks there are."""
        return self.nodes * self.each

    @property
    def name(self) -> str:
        """What nothing else is called."""
        marks = [
            mark
            for mark, there in (
                ("events", self.events),
                ("thread", self.thread),
                ("overlay", self.overlay),
            )
            if there
        ]
        words = [self.way.name, self.launcher, self.engine, f"{self.nodes}x{self.each}"]
        return "-".join([*words, f"r{self.odd}", *marks]).replace("_", "-")

    @property
    def scenario(self) -> dict[str, Any]:
        """The scenario that makes the way happen."""
        silence = _SILENCE_WARM if self.launcher == "warm" else _SILENCE
        return {
            "version": 1,
            "name": self.name,
            "nodes": self.nodes,
            "longest_silence": f"{silence + 10 * (self.ranks - 2)}s",
            **({} if self.launcher in _RUNS else {"sweep": _SWEEP}),
            "workload": {
                "folder": str(TRAINERS),
                "env": {
                    "ODD_RANK": str(self.odd),
                    "IN_THREAD": str(int(self.thread)),
                    "WITH_EVENTS": str(int(self.events)),
                },
                **self._requirements,
                **self._started,
            },
        }

    @property
    def _requirements(self) -> dict[str, Any]:
        accelerate = [_ACCELERATE] if "accelerate" in self.launcher else []
        wanted = [*accelerate, *([_SMALL] if self.overlay else [])]
        return {"requirements": wanted} if wanted else {}

    @property
    def _started(self) -> dict[str, Any]:
        if self.launcher in _RUNS:
            return {"run": self._filled(_RUNS[self.launcher])}
        launcher, command = _TRAINERS[self.launcher]
        trainer = {
            "command": self._filled(command),
            "launcher": launcher,
            "ranks_per_node": self.each if launcher != "own" else 1,
            "overrides_style": "env",
            "score": {"source": "log", "pattern": "^loss=(.*)"},
        }
        return {"trainer": trainer}

    def _filled(self, command: str) -> str:
        if self.way.script.endswith(".sh"):
            return f"bash {self.way.script}"
        restarts = f"--max-restarts={self.way.restarts} " if self.way.restarts else ""
        values = {"script": self.way.script, "each": self.each, "ranks": self.ranks}
        return command.format(more=restarts, **values)


_SWEEP = {
    "strategy": "random",
    "trials": 1,
    "metric": "loss",
    "goal": "minimize",
    "parameters": {"lr": {"distribution": "log_normal", "min": 1e-3, "max": 1e-2}},
}


def possible(way: Way, launcher: str, engine: str) -> Iterator[AutopsyCell]:
    """Give all cells of a way under a launcher on an engine, from plain to odd."""
    if (way.launchers and launcher not in way.launchers) or engine not in way.engines:
        return
    for thread in (False, True) if way.threads else (False,):
        for events in (False, True):
            for overlay in (False, True):
                for nodes, each in SHAPES:
                    if nodes * each < way.least or (way.lone and each > 1):
                        continue
                    # The second rank comes first: it is the odd one where only one is played.
                    ranks = [*range(1, nodes * each), *([0] if way.first else [])]
                    for odd in ranks:
                        yield AutopsyCell(
                            way, launcher, engine, nodes, each, odd, events, thread, overlay
                        )


def all_cells(
    launchers: Iterable[str] = LAUNCHERS, engines: Iterable[str] = ENGINES
) -> Iterator[AutopsyCell]:
    """Give each cell that there is, once."""
    for engine in engines:
        for launcher in launchers:
            for way in WAYS:
                yield from possible(way, launcher, engine)


def plainest(
    ways: Sequence[Way], launchers: Iterable[str], engines: Iterable[str], *, mirrored: bool = False
) -> list[AutopsyCell]:
    """Give the plainest cell of each way, launcher and engine; mirrored, one for each odd rank."""
    found = []
    for engine in engines:
        for launcher in launchers:
            for way in ways:
                cells = list(possible(way, launcher, engine))
                first = cells[:1]
                alike = [one for one in cells if _alike(one, first[0])] if cells else []
                found += alike if mirrored else first
    return found


def sampled(
    ways: Sequence[Way],
    launchers: Iterable[str],
    engines: Iterable[str],
    number: int,
    seed: int,
) -> list[AutopsyCell]:
    """Draw cells of each launcher and engine: of every way one, before any comes again."""
    found = []
    for engine in engines:
        for launcher in launchers:
            chance = random.Random(f"{seed} {launcher} {engine}")  # noqa: S311 - no secret
            cells = [list(possible(way, launcher, engine)) for way in ways]
            of_ways = [ones for ones in cells if ones]
            chance.shuffle(of_ways)
            found += [chance.choice(ones) for ones in of_ways[:number]]
    return found


def _alike(one: AutopsyCell, other: AutopsyCell) -> bool:
    return (one.nodes, one.each, one.events, one.thread, one.overlay) == (
        other.nodes,
        other.each,
        other.events,
        other.thread,
        other.overlay,
    )
