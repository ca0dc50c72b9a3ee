"""Faults whose cause is known: for each of the catalogue, at several places of a sweep.

A sweep here only brings its faults about. Nothing of the product knows of these, and what it
says of them is held against what stands here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, cast, get_args

import yaml

from metta_sandbox.autopsy.cause import Kind
from metta_sandbox.scenario.faults import CATALOGUE

#: Seconds without a sign of life after which a sweep is looked into.
SILENCE = 20
#: A script of anybody's, in plain PyTorch.
TRAINER = Path(__file__).with_name("trainer")
#: Where inside of a rank something happens: rank and step.
_PLACES = ((0, 1), (1, 2), (1, 3))
_NAMES = "POST /sweeps/{name}/runs/next"
_LOGARITHMIC = {"distribution": "log_normal", "min": 1e-4, "max": 1e-2, "mean": 3e-3}


@dataclass(frozen=True)
class Known:
    """One fault, and what must be said of it.

    Args:
        name: Its own.
        key: The fault's kind.
        fault: The item of ``faults``, apart from its name.
        kinds: Kinds of causes that are right; none if nothing must be said.
        rank: The rank to blame; None where it is no rank's doing.
        trial: The trial it strikes.
        sweep: Names the sweep that it shares with others, each of which ends its own trial
            alone; empty if it ends its sweep.
        bundled: Whether the bundled trainer is needed.
        launcher: Who starts the ranks: one of ours; ``shell``, a script of the user's below
            torchrun; or ``run``, in place of our rollout.
        nodes: How many there are, each with a rank.

    """

    name: str
    key: str
    fault: Mapping[str, Any]
    kinds: tuple[Kind, ...]
    rank: int | None
    trial: int = 1
    sweep: str = ""
    bundled: bool = False
    launcher: str = "warm"
    nodes: int = 2


@dataclass(frozen=True)
class FaultySweep:
    """A sweep, and the faults that strike it."""

    name: str
    faults: tuple[Known, ...]

    @property
    def scenario(self) -> dict[str, Any]:
        """The scenario that brings the faults about."""
        first = self.faults[0]
        # An interpreter that imports torch gives no sign of life.
        silence = SILENCE if first.launcher == "warm" else 2 * SILENCE
        common = {
            "version": 1,
            "name": self.name,
            "nodes": first.nodes,
            "longest_silence": f"{silence}s",
            "faults": [{**one.fault, "name": one.name} for one in self.faults],
        }
        if first.launcher == "run":
            return {**common, "workload": _RUN}
        ours = _OURS if any(one.bundled for one in self.faults) else _PLAIN
        trials = max(2, *(one.trial for one in self.faults))
        chance = {"strategy": "random", "trials": trials, "max_failures_in_a_row": trials}
        trainer = {**ours["workload"]["trainer"], "launcher": first.launcher}
        if first.launcher == "shell":
            trainer |= {"command": "bash train.sh", "launcher": "torchrun"}
        workload = {**ours["workload"], "trainer": trainer}
        return {**common, "sweep": {**chance, **ours["sweep"]}, "workload": workload}


_PLAIN: Mapping[str, Any] = {
    "sweep": {"metric": "loss", "goal": "minimize", "parameters": {"lr": _LOGARITHMIC}},
    "workload": {
        "folder": str(TRAINER),
        "trainer": {
            "command": "python train.py",
            "launcher": "warm",
            "overrides_style": "env",
            "overrides": {"steps": 4},
            "score": {"source": "log", "pattern": "loss=(.*)"},
        },
    },
}
_RUN: Mapping[str, Any] = {
    "folder": str(TRAINER),
    "env": {"LR": "0.01", "STEPS": "4"},
    "run": "torchrun --nnodes=$NUM_NODES --node-rank=$NODE_INDEX --nproc-per-node=1 "
    "--master-addr=$MASTER_ADDR --master-port=$MASTER_PORT train.py",
}
_OURS: Mapping[str, Any] = {
    "sweep": {"parameters": {"trainer.optimizer.learning_rate": _LOGARITHMIC}},
    "workload": {
        "trainer": {
            "launcher": "warm",
            "overrides": {
                "trainer": {
                    "total_timesteps": 512,
                    "batch_size": 128,
                    "minibatch_size": 64,
                    "bptt_horizon": 4,
                    "update_epochs": 1,
                }
            },
        }
    },
}


def _inside(key: str, rank: int, trial: int, step: int, fields: Mapping[str, Any]) -> Any:
    event = "optimizer.step" if key == "nan_gradients" else "train.step"
    when = {"event": event, "rank": rank, "trial": trial, "step": step}
    return {key: {"rank": rank, **fields}, "when": when}


def _named(key: str, fields: Mapping[str, Any], place: str) -> str:
    words = [key, *(str(value).lower() for value in fields.values()), place]
    return "-".join(words).replace("_", "-")


def _of_trials() -> Iterator[Known]:
    """Give the faults that end their trial alone, or nothing: many of them share a sweep.

    The last one of a sweep may end that.
    """
    died: tuple[Kind, ...] = ("process died",)
    of_ranks: Sequence[tuple[str, tuple[Kind, ...], Mapping[str, Any]]] = (
        ("signal", died, {"number": "KILL"}),
        ("signal", died, {"number": "SEGV"}),
        ("raise", ("exception",), {"exception": "ValueError"}),
        ("exit", died, {"status": 7}),
        ("segfault", died, {}),
        ("nan_gradients", ("NaN",), {}),
        ("skip_collective", ("collective mismatch",), {}),
    )
    for number, (rank, step) in enumerate(_PLACES, 1):
        for trial, (key, kinds, fields) in enumerate(of_ranks, 1):
            fault = _inside(key, rank, trial, step, fields)
            name = _named(key, fields, f"r{rank}-s{step}")
            yield Known(name, key, fault, kinds, rank, trial, sweep=f"of-ranks-{number}")
    values = {"overrides": {"rank": 1, "trial": 1, "values": {"steps": 8}}}
    yield Known("overrides-r1", "overrides", values, ("different overrides",), 1, 1, "of-files")
    lost = {"wandb_service": {}, "when": {"event": "train.step", "rank": 0, "trial": 2, "step": 2}}
    yield Known("wandb-service", "wandb_service", lost, ("tracker failed",), 0, 2, "of-files")
    rejected = {"reject_token": {}, "when": {"event": "run.named", "trial": 3}}
    yield Known("token", "reject_token", rejected, ("API refused",), 0, 3, "of-files")
    half = {
        "corrupt": {"file": "checkpoint.pt"},
        "when": {"event": "checkpoint.saved", "trial": 1},
    }
    yield Known("corrupt-checkpoint", "corrupt", half, ("exception",), 0, 1, "of-ours", True)
    nan = _inside("nan_gradients", 1, 2, 2, {})
    yield Known("nan-gradients-ours", "nan_gradients", nan, ("NaN",), 1, 2, "of-ours", True)
    # Late by so little that nothing goes wrong.
    late = {"late_start": {"node": "sweep-worker", "by": "2s"}}
    yield Known("late-start-soon", "late_start", late, (), None, 3, "of-ours", True)
    twice = {"run_name": {"give": "duplicate"}, "when": {"call": 4}}
    again: tuple[Kind, ...] = ("run name repeated",)
    yield Known("run-name", "run_name", twice, again, 0, 4, "of-ours", True)
    # Slower than usual, and soon enough.
    slow = {"api": {"route": _NAMES, "delay": "300ms"}, "when": {"call": 5}}
    yield Known("api-slower", "api", slow, (), None, 5, "of-ours", True)
    # Nobody in a sweep asks another one for the time.
    off = {"until": {"event": "train.step", "rank": 1, "trial": 6, "step": 2}}
    ahead = {**_inside("clock", 1, 6, 1, {"by": "1h"}), **off}
    yield Known("clock-ahead", "clock", ahead, (), None, 6, "of-ours", True)
    blocked = {"wandb_folder": {}, "when": {"event": "run.named", "trial": 7}}
    failed: tuple[Kind, ...] = ("tracker failed",)
    yield Known("wandb-folder", "wandb_folder", blocked, failed, 0, 7, "of-ours", True)


def _of_nodes(key: str, kinds: tuple[Kind, ...]) -> Iterator[Known]:
    for rank, trial in ((1, 1), (1, 2), (0, 2)):
        host = ("sweep-master", "sweep-worker")[rank]
        when = {"event": "train.step", "rank": rank, "trial": trial, "step": 2}
        fault = {key: {"node": host}, "when": when}
        yield Known(f"{key}-r{rank}-t{trial}", key, fault, kinds, rank, trial)


def _of_hangs(key: str, kinds: tuple[Kind, ...], **fields: Any) -> Iterator[Known]:
    for trial, (rank, step) in enumerate(_PLACES, 1):
        fault = _inside(key, rank, min(trial, 2), step, fields)
        name = _named(key, fields, f"r{rank}-s{step}")
        yield Known(name, key, fault, kinds, rank, min(trial, 2))


def _of_api(name: str, kinds: tuple[Kind, ...], **answer: Any) -> Iterator[Known]:
    for call in (1, 2):
        lasting = {"when": {"call": call}, "until": {"after": "10m"}}
        fault = {"api": {"route": _NAMES, **answer}, **lasting}
        yield Known(f"api-{name}-c{call}", "api", fault, kinds, 0, call)


def _of_networks() -> Iterator[Known]:
    """Give the faults of networks that end a sweep."""
    pair = {"between": ["sweep-master", "sweep-worker"]}
    apart: tuple[Kind, ...] = ("peer unreachable",)

    def at(rank: int, trial: int) -> Any:
        return {"event": "train.step", "rank": rank, "trial": trial, "step": 2}

    for rank, trial in ((0, 1), (1, 2)):
        place = f"r{rank}-t{trial}"
        cut = {"partition": pair, "when": at(rank, trial)}
        yield Known(f"partition-{place}", "partition", cut, apart, None, trial)
        ended = {"reset": pair, "when": at(rank, trial)}
        yield Known(f"reset-{place}", "reset", ended, apart, None, trial)
    unknown = {
        "no_name": {"name": "sweep-master", "on": "sweep-worker"},
        "when": {"event": "handoff.received", "node": "sweep-worker", "trial": 1},
    }
    yield Known("no-name", "no_name", unknown, apart, 1)


def _of_containers() -> Iterator[Known]:
    """Give the faults that only containers can have and that leave the sweep going, but the last.

    Those of the first trials only make them slower.
    """
    worker = {"node": "sweep-worker"}
    pair = {"between": ["sweep-master", "sweep-worker"]}
    slow: Sequence[tuple[str, Mapping[str, Any]]] = (
        ("packet_loss", {**pair, "percent": 5}),
        ("delay", {**pair, "by": "30ms"}),
        ("bandwidth", {**pair, "mbit": 20}),
        ("cpu", {**worker, "share": 0.2}),
    )
    for trial, (key, said) in enumerate(slow, 1):
        lasting = {
            "when": {"event": "handoff.received", "node": "sweep-worker", "trial": trial},
            "until": {"event": "handoff.sent", "trial": trial + 1},
        }
        name = key.replace("_", "-")
        yield Known(name, key, {key: said, **lasting}, (), None, trial, "of-containers")
    taken = {"port_taken": {"node": "sweep-master"}, "when": {"event": "handoff.sent", "trial": 5}}
    yield Known("port-taken", "port_taken", taken, ("port taken",), 0, 5, "of-containers")
    memory = _inside("out_of_memory", 1, 6, 1, {})
    killed: tuple[Kind, ...] = ("killed by the kernel",)
    yield Known("out-of-memory", "out_of_memory", memory, killed, 1, 6, "of-containers")
    # Where a rank's log is written, and where a checkpoint is.
    received = {"event": "handoff.received", "node": "sweep-worker", "trial": 7}
    full: tuple[Kind, ...] = ("disk full",)
    logs = {"disk_full": worker, "when": received}
    yield Known("disk-full-r1", "disk_full", logs, full, 1, 7, "of-containers")
    step = {"event": "train.step", "rank": 0, "trial": 1, "step": 1}
    states = {"disk_full": {"node": "sweep-master"}, "when": step}
    yield Known("disk-full-r0", "disk_full", states, full, 0, 1, bundled=True)


def _of_examples(known: Sequence[Known]) -> Iterator[Known]:
    """Give the example of each kind that stands nowhere else here, in a trial of its own."""
    keys = {one.key for one in known}
    others = (kind for key, kind in CATALOGUE.items() if key not in keys)
    for trial, kind in enumerate(others, 1):
        fault = yaml.safe_load(kind.example)
        fault["when"]["trial"] = trial
        causes = cast("tuple[Kind, ...]", kind.causes)
        rank = fault[kind.key].get("rank")
        name = kind.key.replace("_", "-")
        yield Known(name, kind.key, fault, causes, rank, trial, "of-examples", bundled=True)


def corpus() -> tuple[Known, ...]:
    """List all known faults, each name once."""
    started = {"when": {"event": "train.step", "rank": 1, "trial": 1, "step": 1}}
    restart = {"restart": {"node": "sweep-worker"}, **started}
    late = {"late_start": {"node": "sweep-worker", "by": f"{4 * SILENCE}s"}}
    found: list[Known] = [
        *_of_trials(),
        *_of_nodes("kill", ("node lost",)),
        # Told to end, a node's processes end one after the other.
        *_of_nodes("terminate", ("node lost", "process died")),
        Known("restart-r1", "restart", restart, ("node lost",), 1, 1),
        *_of_containers(),
        *_of_nodes("pause", ("stopped",)),
        *_of_networks(),
        # Late by so much that it never comes.
        Known("late-start", "late_start", late, ("rank missing at rendezvous",), 1),
        *_of_hangs("signal", ("stopped",), number="STOP"),
        *_of_hangs("sleep", ("straggler",)),
        *_of_hangs("hold_gil", ("straggler", "waiting for the GIL")),
        *_of_api("status", ("API refused",), status=503),
        # Longer than a caller waits for its answer.
        *_of_api("delay", ("API slow",), delay="7s"),
        *_of_api("drop", ("API refused",), drop=True),
        *_of_api("broken", ("API refused",), broken_json=True),
    ]
    found += _of_examples(found)
    assert all(kind in get_args(Kind) for one in found for kind in one.kinds)
    return tuple(found)


#: Faults of the catalogue that need nobody inside a rank, nor a trial.
_OF_RUNS = frozenset({"kill", "terminate", "restart", "pause", "partition", "reset"})
#: Launchers that those of ``corpus`` are played under, too.
OTHER_LAUNCHERS = ("torchrun", "plain", "shell", "run")


def relaunched(launcher: str) -> tuple[Known, ...]:
    """Give the known faults under another launcher: of ``run`` those that it can have."""
    found = []
    for one in corpus():
        if launcher == "run":
            if one.key not in _OF_RUNS or one.trial > 1:
                continue
            when = {key: value for key, value in one.fault["when"].items() if key != "trial"}
            one = replace(one, fault={**one.fault, "when": when})  # noqa: PLW2901
        elif one.bundled:
            continue
        sweep = f"{one.sweep}-{launcher}" if one.sweep else ""
        found.append(replace(one, name=f"{one.name}-{launcher}", sweep=sweep, launcher=launcher))
    return tuple(found)


def mirrored(nodes: int) -> tuple[Known, ...]:
    """Give what can be put into a rank, once into each of some nodes' ranks."""
    found = []
    for one in corpus():
        if one.rank is None or one.bundled or "rank" not in one.fault.get(one.key, {}):
            continue
        if one.fault.get("when", {}).get("step") != _PLACES[1][1]:
            continue
        for rank in range(nodes):
            fault = {
                one.key: {**one.fault[one.key], "rank": rank},
                "when": {**one.fault["when"], "rank": rank},
            }
            sweep = f"{one.sweep}-{rank}-of-{nodes}" if one.sweep else ""
            name = f"{one.name.removesuffix('-r1-s2')}-{rank}-of-{nodes}"
            found.append(replace(one, name=name, fault=fault, rank=rank, sweep=sweep, nodes=nodes))
    return tuple(found)


def sweeps(faults: Sequence[Known]) -> tuple[FaultySweep, ...]:
    """Give the sweeps that are needed to bring some faults about."""
    by_sweep = sorted(faults, key=lambda one: one.sweep or one.name)
    groups = groupby(by_sweep, key=lambda one: one.sweep or one.name)
    return tuple(FaultySweep(name, tuple(found)) for name, found in groups)


def once_each() -> tuple[Known, ...]:
    """Pick one of each kind of fault, so that few sweeps are needed."""
    found: dict[str, Known] = {}
    for one in sorted(corpus(), key=lambda one: not one.sweep):
        found.setdefault(one.key, one)
    return tuple(found.values())


def chosen(words: Sequence[str], faults: Sequence[Known] | None = None) -> tuple[Known, ...]:
    """Pick those whose names, or whose sweeps', hold one of these words; all without any."""
    return tuple(
        one
        for one in (corpus() if faults is None else faults)
        if not words or any(word in one.name or word in one.sweep for word in words)
    )
