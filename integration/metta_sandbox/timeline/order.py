"""The one order of a timeline.

Clocks of several nodes are not to be trusted with it. Three things are, in this sequence: what one
process emitted stays in the order of its ``seq``; a cause precedes its effect; and otherwise what
was received first comes first.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from metta_sandbox.node.agent.events import Field, Name, Told

_T = TypeVar("_T")


@dataclass(frozen=True)
class CausalPair:
    """An event that cannot happen before another one has.

    Where the same cause comes several times (a trial that is tried again), the n-th effect that a
    process sees follows the n-th cause.

    Attributes:
        cause: The event that comes first.
        effect: The event that follows it.
        same: The fields in which the two agree.

    """

    cause: Name
    effect: Name
    same: tuple[Field, ...]


CAUSAL_PAIRS = (
    CausalPair("suggestion.made", "run.named", ("trial",)),
    CausalPair("run.named", "handoff.sent", ("trial", "run")),
    CausalPair("handoff.sent", "handoff.received", ("trial", "run")),
    CausalPair("handoff.received", "train.started", ("trial", "run", "node")),
    CausalPair("train.finished", "eval.finished", ("trial", "run", "node")),
    CausalPair("eval.finished", "observation.recorded", ("trial", "run")),
)


@dataclass(frozen=True)
class Needs:
    """What must come before one event: indices of others, in order of receipt.

    Attributes:
        previous: The one before it from the same emitter, if there is one.
        causes: Those that caused it.

    """

    previous: int | None
    causes: tuple[int, ...]


def needs_of(events: Sequence[Told]) -> list[Needs]:
    """Say what each event must follow, given them in order of receipt."""
    previous = _previous(events)
    causes: dict[int, list[int]] = defaultdict(list)
    for pair in CAUSAL_PAIRS:
        for effect, cause in _paired(events, pair):
            causes[effect].append(cause)
    return [Needs(previous.get(i), tuple(causes.get(i, ()))) for i in range(len(events))]


def _previous(events: Sequence[Told]) -> dict[int, int]:
    """Chain what each emitter sent by its ``seq``.

    A node that was restarted may reuse a process id. That shows as a ``seq`` that was there before,
    and starts a new emitter.
    """
    lives: dict[tuple[Any, Any], list[dict[int, int]]] = defaultdict(list)
    for index, event in enumerate(events):
        seq = event.get("seq")
        if not isinstance(seq, int):
            continue
        known = lives[event.get("node"), event.get("pid")]
        if not known or seq in known[-1]:
            known.append({})
        known[-1][seq] = index
    previous: dict[int, int] = {}
    for known in lives.values():
        for life in known:
            chain = [life[seq] for seq in sorted(life)]
            previous.update(zip(chain[1:], chain[:-1], strict=True))
    return previous


def _paired(events: Sequence[Told], pair: CausalPair) -> Iterator[tuple[int, int]]:
    causes: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, event in enumerate(events):
        if event.get("event") == pair.cause:
            causes[_key(event, pair.same)].append(index)
    if not causes:
        return
    seen: dict[tuple[Any, ...], int] = defaultdict(int)
    for index, event in enumerate(events):
        if event.get("event") == pair.effect:
            key = _key(event, pair.same)
            who = (key, event.get("node"), event.get("rank"))
            nth, seen[who] = seen[who], seen[who] + 1
            if nth < len(causes[key]):
                yield index, causes[key][nth]


def _key(event: Told, fields: tuple[Field, ...]) -> tuple[str, ...]:
    # A field that is missing counts as a value, so that those without one pair with each other.
    return tuple(str(event.get(field)) for field in fields)


class Merge(Generic[_T]):
    """Puts items that come in order of receipt into the one order, holding back as few as it can.

    Should needs contradict one another, an emitter's own order wins over causes, and nothing is
    lost.
    """

    def __init__(self, needs: Sequence[Needs]) -> None:
        self._previous = [need.previous for need in needs]
        self._open = [0] * len(needs)
        self._followers: dict[int, list[int]] = defaultdict(list)
        for index, need in enumerate(needs):
            before = {*need.causes, *(() if need.previous is None else (need.previous,))}
            self._open[index] = len(before)
            for other in before:
                self._followers[other].append(index)
        self._held: dict[int, _T] = {}

    def run(self, items: Iterable[tuple[int | None, _T]]) -> Iterator[_T]:
        """Give every item once, in the one order.

        Args:
            items: In order of receipt; each with its event's index among the needs, or None if it
                is no event.

        """
        for index, item in items:
            if index is None:
                yield item
                continue
            self._held[index] = item
            if not self._open[index]:
                yield from self._release(index)
        while self._held:
            yield from self._release(
                min(i for i in self._held if self._previous[i] not in self._held)
            )

    def _release(self, first: int) -> Iterator[_T]:
        ready = [first]
        while ready:
            index = heapq.heappop(ready)
            yield self._held.pop(index)
            for follower in self._followers[index]:
                self._open[follower] -= 1
                if not self._open[follower] and follower in self._held:
                    heapq.heappush(ready, follower)
