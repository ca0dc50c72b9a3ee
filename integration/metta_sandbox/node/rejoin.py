"""The hand-off of a sweep whose nodes may be lost, and come back.

Nodes meet once for each trial, by number, and what became of a meeting is agreed upon in the store
that rank 0 serves: all say that they came, and as how-manieth start of their node; rank 0 opens
the meeting once all have; they broadcast in a process group of that number; all say whether they
got it; rank 0 closes the meeting, which counts only if all got it and none was started again since.
Otherwise the same trial is handed off at the next meeting. (Two-phase commit, with rank 0 as the
coordinator: Gray, Notes on Data Base Operating Systems, 1978, 5.8.3.3.) The sweep's end needs no
meeting: rank 0 says so, and waits until all have left.

A node that was started again finds out from the store where its sweep is: it comes to a meeting
that it has missed, and of a trial that it had begun it says that it was lost in it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict
from datetime import timedelta

from metta_sandbox.node.handoff import HandOff, Outcome, SweepGroup
from metta_sandbox.node.view import NodeView

#: Seconds between two looks at what others have said.
_LOOK = 0.02
#: Seconds that all get to broadcast, once all have come.
_BROADCAST = timedelta(seconds=60)


class RejoiningGroup(SweepGroup):
    """The nodes of a sweep of which all but rank 0's may be lost and come back.

    Args:
        view: This node's place among them.
        timeout: Seconds after which a node that doesn't come is given up.

    Raises:
        torch.distributed.DistError: The other nodes did not come in time.

    """

    def __init__(self, view: NodeView, timeout: float) -> None:
        super().__init__(view, timeout)
        self._patience = timeout
        self._met = 0
        self._start: int = self._store.add(f"start-{view.node_rank}", 1)
        if self._start > 1:
            self._come_back()

    def hand_off(self, _trial: int, sent: HandOff | None) -> HandOff:
        """Broadcast a trial from rank 0 to all nodes; again, when one is lost meanwhile.

        Args:
            _trial: How many this process has seen, which says nothing where nodes come back.
            sent: What to tell, on rank 0; None on all others.

        Raises:
            TimeoutError: A node that is waited for does not come.

        """
        if sent is not None and not sent.run:
            self._store.set("over", json.dumps(asdict(sent)))
            self._leave()
            self._await(self._all_left, "nodes that are to leave")
            return sent
        while True:
            received = self._call(sent) if sent is not None else self._attend()
            if received is not None:
                return received

    def _call(self, sent: HandOff) -> HandOff | None:
        """Lead a meeting as rank 0; returns the hand-off, or None if the meeting does not count."""
        number: int = self._store.add("meetings", 1)
        self._store.set(f"trial-of-{number}", str(sent.trial))
        self._come(number)
        counts = self._await(lambda: self._all_came(number), "nodes for a trial")
        if counts:
            self._store.set(f"open-{number}", "")
            with self._part(number, sent):
                counts = self._await(lambda: self._all_got(number), "nodes that were told a trial")
        self._store.set(f"counts-{number}", "yes" if counts else "no")
        return sent if counts else None

    def _attend(self) -> HandOff | None:
        """Attend the next meeting; returns the hand-off, or None if the meeting does not count."""
        self._await(self._is_next, "rank 0's next trial")
        if (over := self._said("over")) is not None:
            self._leave()
            return HandOff(**json.loads(over))
        number = self._met = self._meetings()
        self._come(number)
        opened = self._await(lambda: self._is_open(number), "nodes for a trial")
        with self._part(number, None) if opened else nullcontext() as received:
            return received if self._await(lambda: self._counts(number), "rank 0's word") else None

    @contextmanager
    def _part(self, number: int, sent: HandOff | None) -> Iterator[HandOff | None]:
        """Broadcast, and say whether this node got it, in a group that stays meanwhile."""
        with ExitStack() as group:
            try:
                received = group.enter_context(
                    self._broadcast(f"meeting-{number}", sent, _BROADCAST)
                )
            except RuntimeError:  # the other end of a connection is gone, or did not come
                received = None
            self._store.set(self._of_this(f"got-{number}"), "yes" if received else "no")
            yield received

    def _come_back(self) -> None:
        """Find out where the sweep is, in which this node had a part before."""
        number = self._meetings()
        if self._said(self._of_this(f"came-{number}")) is None:
            # It is awaited there.
            self._met = max(0, number - 1)
            return
        self._met = number
        if not self._await(lambda: self._counts(number), "rank 0's word"):
            return
        trial = int(self._said(f"trial-of-{number}") or 0)
        rank = self._view.node_rank
        if not self.has_told(trial):
            self.tell(trial, Outcome(rank, {}, f"{self._view.host} was lost, and has come back"))

    def _come(self, number: int) -> None:
        self._store.set(self._of_this(f"came-{number}"), str(self._start))

    def _leave(self) -> None:
        self._store.set(self._of_this("left"), "")

    def _all_left(self) -> bool | None:
        ranks = range(self._view.num_nodes)
        return all(self._said(f"left-{rank}") is not None for rank in ranks) or None

    def _is_next(self) -> bool | None:
        return self._meetings() > self._met or self._said("over") is not None or None

    def _is_open(self, number: int) -> bool | None:
        """Tell whether all have come; None while some are awaited, False if one was lost again."""
        if self._said(f"open-{number}") is not None:
            return True
        return None if self._counts(number) is None else False

    def _all_came(self, number: int) -> bool | None:
        """Tell whether all are there; None while some are awaited, False if one was lost again."""
        came = [self._said(f"came-{number}-{rank}") for rank in range(self._view.num_nodes)]
        pairs = zip(came, self._starts(), strict=True)
        if any(said is not None and int(said) != start for said, start in pairs):
            return False
        return None if None in came else True

    def _all_got(self, number: int) -> bool | None:
        """Tell whether all got it; None while some are to say so, False if one did not."""
        got = [self._said(f"got-{number}-{rank}") for rank in range(self._view.num_nodes)]
        if "no" in got or not self._all_came(number):
            return False
        return None if None in got else True

    def _counts(self, number: int) -> bool | None:
        said = self._said(f"counts-{number}")
        return None if said is None else said == "yes"

    def _starts(self) -> list[int]:
        """List how often each node was started."""
        return [self._store.add(f"start-{rank}", 0) for rank in range(self._view.num_nodes)]

    def _meetings(self) -> int:
        return int(self._store.add("meetings", 0))

    def _said(self, key: str) -> str | None:
        return self._store.get(key).decode() if self._store.check([key]) else None

    def _of_this(self, key: str) -> str:
        return f"{key}-{self._view.node_rank}"

    def _await(self, look: Callable[[], bool | None], what: str) -> bool:
        """Wait until a look says yes or no.

        Raises:
            TimeoutError: It does not.

        """
        deadline = time.monotonic() + self._patience
        while (seen := look()) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {self._patience:g} s in vain for {what}")
            time.sleep(_LOOK)
        return seen
