"""Commands that run on nodes beside the sweep, before it or after it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from metta_sandbox.node.agent.messages import Heard


@dataclass(frozen=True)
class Executed:
    """How a command ended on a node, and what it printed.

    Attributes:
        status: Its exit status, negative for a signal; None if it did not end in time.
        lines: What it printed, as far as it was forwarded.
        problem: Why it could not be run or followed, or empty.

    """

    status: int | None
    lines: tuple[str, ...] = ()
    problem: str = ""

    @property
    def answers(self) -> list[dict[str, Any]]:
        """The lines that are JSON objects."""
        found = []
        for line in self.lines:
            try:
                answer = json.loads(line)
            except ValueError:
                continue
            if isinstance(answer, dict):
                found.append(answer)
        return found


class NodeCommands:
    """Takes in what one process group prints on some nodes, until it has ended on all.

    Args:
        group: The group's name.
        hosts: The nodes.

    """

    def __init__(self, group: str, hosts: Iterable[str]) -> None:
        self._group = group
        self._lines: dict[str, list[str]] = {host: [] for host in hosts}
        self._ends: dict[str, Executed] = {}

    @property
    def missing(self) -> list[str]:
        """The nodes on which it has not ended."""
        return [host for host in self._lines if host not in self._ends]

    def is_of(self, message: Heard) -> bool:
        """Tell whether a message is of this process group, and not of what runs beside it."""
        return self._group in (message.get("source"), message.get("group"))

    def take(self, message: Heard) -> None:
        """Take in a message of any node's."""
        node = str(message.get("node", ""))
        if message["type"] == "gone":
            for host in self.missing:
                self.fail(host, "the connection to the stack is gone")
        if node not in self.missing:
            return
        if message["type"] == "lines" and message["source"] == self._group:
            self._lines[node].extend(message["lines"])
        elif message["type"] == "exit" and message["group"] == self._group:
            self._ends[node] = Executed(message["status"], tuple(self._lines[node]))
        elif message["type"] == "lost":
            self.fail(node, f"{node} is lost")

    def fail(self, host: str, problem: str) -> None:
        """Note that no end of it will be heard of."""
        self._ends[host] = Executed(None, tuple(self._lines[host]), problem)

    def ends(self) -> Mapping[str, Executed]:
        """Give each node's end, of those that have one."""
        return {host: self._ends[host] for host in self._lines if host in self._ends}
