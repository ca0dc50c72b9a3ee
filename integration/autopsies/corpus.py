"""Faults whose cause is known: for each of the catalogue, at several places of a sweep.

A scenario here only brings a fault about. Nothing of the product knows of these, and what it
says of them is held against what stands here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from metta_sandbox.autopsy.cause import Kind

#: Seconds without a sign of life after which a sweep is looked into.
SILENCE = 12
_NAMES = "POST /sweeps/{name}/runs/next"
_BASE: Mapping[str, Any] = {
    "version": 1,
    "longest_silence": f"{SILENCE}s",
    "sweep": {
        "trials": 2,
        "parameters": {
            "trainer.optimizer.learning_rate": {
                "distribution": "log_normal",
                "min": 1e-4,
                "max": 1e-2,
                "mean": 3e-3,
            }
        },
    },
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


@dataclass(frozen=True)
class Known:
    """One fault, and what must be said of it.

    Args:
        name: The scenario's.
        key: The fault's kind.
        fault: The item of ``faults``.
        kinds: Kinds of causes that are right.
        rank: The rank to blame; None where it is no rank's doing.

    """

    name: str
    key: str
    fault: Mapping[str, Any]
    kinds: tuple[Kind, ...]
    rank: int | None

    @property
    def scenario(self) -> dict[str, Any]:
        """The scenario that brings it about."""
        return {**_BASE, "name": self.name, "faults": [dict(self.fault)]}


def _step(rank: int, trial: int, step: int = 2) -> dict[str, Any]:
    return {"when": {"event": "train.step", "rank": rank, "trial": trial, "step": step}}


def _of_ranks(key: str, kinds: tuple[Kind, ...], **fields: Any) -> Iterator[Known]:
    """Give a fault inside a rank at three places: another rank, another trial, another step."""
    for rank, trial, step in ((0, 1, 1), (1, 1, 2), (1, 2, 2)):
        event = "optimizer.step" if key == "nan_gradients" else "train.step"
        when = {"event": event, "rank": rank, "trial": trial, "step": step}
        fault = {key: {"rank": rank, **fields}, "when": when}
        tail = "-".join(str(value).lower() for value in fields.values() if value != "")
        name = f"{key}-{tail}" if tail else key
        place = f"r{rank}-t{trial}-s{step}"
        yield Known(f"{name}-{place}".replace("_", "-"), key, fault, kinds, rank)


def _of_nodes(key: str, kinds: tuple[Kind, ...]) -> Iterator[Known]:
    for host, rank, trial in (
        ("sweep-worker", 1, 1),
        ("sweep-worker", 1, 2),
        ("sweep-master", 0, 2),
    ):
        fault = {key: {"node": host}, **_step(rank, trial)}
        yield Known(f"{key}-r{rank}-t{trial}", key, fault, kinds, rank)


def _of_api(name: str, kinds: tuple[Kind, ...], **answer: Any) -> Iterator[Known]:
    for call in (1, 2):
        fault = {
            "api": {"route": _NAMES, **answer},
            "when": {"call": call},
            "until": {"after": "10m"},
        }
        yield Known(f"api-{name}-c{call}", "api", fault, kinds, 0)


def corpus() -> tuple[Known, ...]:
    """List all of them, each name once."""
    died: tuple[Kind, ...] = ("process died",)
    found: list[Known] = [
        *_of_nodes("kill", ("node lost",)),
        *_of_nodes("terminate", ("node lost",)),
        *_of_nodes("pause", ("stopped",)),
        Known(
            "late-start",
            "late_start",
            {"late_start": {"node": "sweep-worker", "by": f"{4 * SILENCE}s"}},
            ("rank missing at rendezvous",),
            1,
        ),
        *_of_ranks("signal", died, number="KILL"),
        *_of_ranks("signal", died, number="SEGV"),
        *_of_ranks("signal", ("stopped",), number="STOP"),
        Known(
            "wandb-service",
            "wandb_service",
            {"wandb_service": {}, **_step(0, 1)},
            ("tracker failed",),
            0,
        ),
        *_of_ranks("raise", ("exception",), exception="ValueError"),
        *_of_ranks("exit", died, status=7),
        *_of_ranks("segfault", died),
        *_of_ranks("sleep", ("straggler",)),
        *_of_ranks("hold_gil", ("straggler", "waiting for the GIL")),
        *_of_ranks("nan_gradients", ("NaN",)),
        *_of_ranks("skip_collective", ("collective mismatch",)),
        Known(
            "overrides-r1-t1",
            "overrides",
            {"overrides": {"rank": 1, "trial": 1, "values": {"trainer.total_timesteps": 1024}}},
            ("different overrides",),
            1,
        ),
        Known(
            "corrupt-checkpoint",
            "corrupt",
            {
                "corrupt": {"file": "checkpoint.pt"},
                "when": {"event": "checkpoint.saved", "trial": 1},
            },
            ("exception",),
            0,
        ),
        Known(
            "wandb-folder",
            "wandb_folder",
            {"wandb_folder": {}, "when": {"event": "run.named", "trial": 2}},
            ("tracker failed",),
            0,
        ),
        *_of_api("status", ("API refused",), status=503),
        *_of_api("delay", ("API slow",), delay=f"{4 * SILENCE}s"),
        *_of_api("drop", ("API refused",), drop=True),
        *_of_api("broken", ("API refused",), broken_json=True),
        Known(
            "token",
            "reject_token",
            {"reject_token": {}, "when": {"event": "run.named", "trial": 1}},
            ("API refused",),
            0,
        ),
        Known(
            "run-name", "run_name", {"run_name": {"give": "duplicate"}, "when": {"call": 2}}, (), 0
        ),
    ]
    assert all(kind in get_args(Kind) for one in found for kind in one.kinds)
    return tuple(found)


def chosen(words: Sequence[str]) -> tuple[Known, ...]:
    """Pick those whose names hold one of these words; all without any."""
    return tuple(one for one in corpus() if not words or any(word in one.name for word in words))
