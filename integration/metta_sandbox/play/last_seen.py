"""Who was last heard of, for the moment when nobody is heard any more."""

from __future__ import annotations

import re
from collections.abc import Iterable

from metta_sandbox.node.agent.messages import Heard
from metta_sandbox.timeline.recording import Event, Line

#: A warning of PyTorch's about a connection that it does not get, and asks for again, or has lost:
#: ``[W1123 08:26:04.020 socket.cpp:764] [c10d] The IPv6 network addresses of …``.
_IN_VAIN = re.compile(r"\[W\d+ [\d:.]+ \w+\.cpp:\d+\] (\[[^\]]*\] )*\[c10d\] ")


def is_sign_of_life(message: Heard) -> bool:
    """Tell whether somebody gets on, and does not only say that he waits for others in vain."""
    if message["type"] == "still" or message["type"] == "turned-away":
        return False
    if message["type"] != "lines":
        return True
    return not all(_IN_VAIN.search(line) for line in message["lines"])


class LastSeen:
    """The last event or line of every node, and the last event of every rank that lives."""

    def __init__(self) -> None:
        self._nodes: dict[str, Event] = {}
        self._lines: dict[str, Line] = {}
        self._ranks: dict[tuple[str, int], Event] = {}
        self._trial: Event | None = None

    def note(self, event: Event) -> None:
        """Take an event in."""
        node, rank = str(event.get("node")), event.get("rank")
        self._nodes[node] = event
        if event.name == "handoff.sent":
            self._trial = event
        elif event.name == "observation.recorded":
            self._trial = None
        # A rollout bears the variables of its node's first rank.
        if not isinstance(rank, int) or event.get("group") == "sweep":
            return
        if event.name == "rank.exited":
            self._ranks.pop((node, rank), None)
        elif event.name != "rank.started" or (node, rank) not in self._ranks:
            # A rank may be heard before its start is.
            self._ranks[node, rank] = event

    def note_line(self, line: Line) -> None:
        """Take a line in that something on a node printed."""
        self._lines[line.node] = line

    def describe(self, hosts: Iterable[str]) -> str:
        """Say which trial was under way, and what each rank of it, or else each node, last told.

        Args:
            hosts: The nodes that were still at work.

        """
        working = list(hosts)
        ranks = {key: last for key, last in self._ranks.items() if key[0] in working}
        told = [
            f"rank {rank} on {node}: {_what(last)}" for (node, rank), last in sorted(ranks.items())
        ]
        busy = {node for node, _ in ranks}
        told += [f"{node}: {self._last_of(node)}" for node in working if node not in busy]
        during = ""
        if self._trial is not None:
            during = f" in trial {self._trial.get('trial')} ({self._trial.get('run')})"
        return f"{during}; last heard of {', '.join(told)}"

    def _last_of(self, node: str) -> str:
        event, line = self._nodes.get(node), self._lines.get(node)
        if event is not None and (line is None or line.received <= event.received):
            return _what(event)
        return "nothing" if line is None else f"a line at {line.received:.1f} s"


def _what(event: Event) -> str:
    step = "" if event.get("step") is None else f" {event.get('step')}"
    return f"{event.name}{step} at {event.received:.1f} s"
