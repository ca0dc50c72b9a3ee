"""The hand-off of a trial: rank 0 tells every node which run to train, and with what.

Gloo's groups are static, so each trial has a group of its own, by number. They meet in one store
that rank 0's rollout serves at MASTER_ADDR:MASTER_PORT for as long as the sweep lasts; the store
also carries each node's outcome, so that no node waits for one that has already failed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from metta_sandbox.node.view import NodeView
from metta_sandbox.scenario.values import Value

#: What a reason begins with when ranks were stopped for what happened on another node.
STOPPED = "stopped, as "


@dataclass(frozen=True)
class HandOff:
    """What every node must know before it trains.

    Args:
        trial: Its number in the sweep, from 1.
        run: The run's name, or an empty string when the sweep is over.
        overrides: The trainer's settings, by dotted key.
        wandb_run_id: The tracker's id of the run.
        port: Where the trainers of this trial meet, on rank 0's node.
        attempt: How often its suggestion is tried with this run, from 1.

    """

    trial: int
    run: str
    overrides: dict[str, Value]
    wandb_run_id: str
    port: int
    attempt: int = 1


@dataclass(frozen=True)
class Outcome:
    """How a trial ended on one node.

    Args:
        node_rank: The node's index.
        statuses: Exit status by rank; negative for a signal, None if nobody heard of it.
        reason: Why it failed, or an empty string.

    """

    node_rank: int
    statuses: dict[int, int | None]
    reason: str


#: What a rank says when another one left it, in Gloo's and the kernel's words.
LEFT_ALONE = re.compile(r"closed by peer|reset by peer|Broken pipe|was killed by signal 15\b")


def why(outcomes: Iterable[Outcome]) -> str:
    """Say why a trial failed, or an empty string if it did not.

    What failed by itself comes first, then what was left alone by it; a node that was stopped
    because of another says nothing of its own.
    """
    reasons = [outcome.reason for outcome in outcomes if outcome.reason]
    own = [reason for reason in reasons if not reason.startswith(STOPPED)] or reasons
    return "; ".join(sorted(dict.fromkeys(own), key=lambda one: bool(LEFT_ALONE.search(one))))


class SweepGroup:
    """The nodes of a sweep.

    Args:
        view: This node's place among them.
        timeout: Seconds after which a node that doesn't come is given up.

    Raises:
        torch.distributed.DistError: The other nodes did not come in time.

    """

    def __init__(self, view: NodeView, timeout: float) -> None:
        self._view = view
        self._timeout = timedelta(seconds=timeout)
        self._store = dist.TCPStore(  # type: ignore[attr-defined]
            view.master_addr,
            view.master_port,
            view.num_nodes,
            is_master=view.is_master,
            timeout=self._timeout,
        )

    def hand_off(self, trial: int, sent: HandOff | None) -> HandOff:
        """Broadcast a trial from rank 0 to all nodes, in a process group of its own.

        Args:
            trial: Its number.
            sent: What to tell, on rank 0; None on all others.

        Returns:
            What rank 0 sent.

        """
        with self._broadcast(f"trial-{trial}", sent, self._timeout) as received:
            self._store.set(_has_key(trial, self._view.node_rank), "")
            self._store.wait(
                [_has_key(trial, rank) for rank in range(self._view.num_nodes)], self._timeout
            )
        return received

    @contextmanager
    def _broadcast(self, name: str, sent: HandOff | None, timeout: timedelta) -> Iterator[HandOff]:
        """Broadcast in a process group that stays until this context is left.

        It must not be left before all have what was sent: a node that has it, and closes its
        connections, breaks the group of one that still connects to a third.
        """
        dist.init_process_group(
            "gloo",
            store=dist.PrefixStore(name, self._store),  # type: ignore[attr-defined]
            rank=self._view.node_rank,
            world_size=self._view.num_nodes,
            timeout=timeout,
        )
        try:
            parcel: list[Any] = [sent]
            dist.broadcast_object_list(parcel, src=0)
            received = parcel[0]
            assert isinstance(received, HandOff)
            yield received
        finally:
            dist.destroy_process_group()

    def tell(self, trial: int, outcome: Outcome) -> None:
        """Let the other nodes know how a trial ended here."""
        if outcome.reason:
            # Only the first to fail is the cause; the others fail because of it.
            self._store.compare_set(f"failed-{trial}", "", outcome.reason)
        self._store.set(_outcome_key(trial, outcome.node_rank), json.dumps(asdict(outcome)))

    def has_told(self, trial: int) -> bool:
        """Say whether this node has told already how a trial ended here."""
        return bool(self._store.check([_outcome_key(trial, self._view.node_rank)]))

    def prune(self, trial: int) -> None:
        """Let all nodes know that a trial ends early; on rank 0."""
        self._store.set(f"pruned-{trial}", "")

    def is_pruned(self, trial: int) -> bool:
        """Say whether rank 0 has ended a trial early. Does not wait."""
        return bool(self._store.check([f"pruned-{trial}"]))

    def failure(self, trial: int) -> str | None:
        """Say why a trial has failed on some node, or None while none did. Does not wait."""
        if self._store.check([f"failed-{trial}"]):
            return self._store.get(f"failed-{trial}").decode()
        return None

    def outcomes(self, trial: int) -> list[Outcome]:
        """Wait until every node has told how a trial ended there.

        Raises:
            torch.distributed.DistError: One did not in time.

        """
        keys = [_outcome_key(trial, rank) for rank in range(self._view.num_nodes)]
        self._store.wait(keys, self._timeout)
        return [_outcome(self._store.get(key)) for key in keys]


def _has_key(trial: int, node_rank: int) -> str:
    return f"has-{trial}-{node_rank}"


def _outcome_key(trial: int, node_rank: int) -> str:
    return f"outcome-{trial}-{node_rank}"


def _outcome(text: bytes) -> Outcome:
    told = json.loads(text)
    statuses = {int(rank): status for rank, status in told["statuses"].items()}
    return Outcome(told["node_rank"], statuses, told["reason"])
