"""A standing stack as it is looked at: what it is made of, its logs, a shell on a node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

_ILL = frozenset({"unhealthy", "silent", "cut off"})


@dataclass(frozen=True)
class StackMember:
    """A node or a service of a standing stack.

    Args:
        name: What the engine calls it, or the host name.
        host: Its host name.
        rank: The node's rank, or None for a service.
        state: ``running``, ``exited``, …, or ``missing``.
        health: ``healthy`` (it answers), ``starting``, ``unhealthy``, ``silent``, or ``cut off``
            (the hub does not know it); empty where nothing says.
        address: On the stack's network.
        running: What runs on it now, by process group.
        image: What it was made from.
        age: Seconds since it was started.

    """

    name: str
    host: str
    rank: int | None
    state: str
    health: str = ""
    address: str = ""
    running: tuple[str, ...] = ()
    image: str = ""
    age: float | None = None

    @property
    def ill(self) -> str:
        """What is wrong with it, or an empty string."""
        if self.state != "running":
            return f"{self.name} is {self.state}"
        return f"{self.name} is {self.health}" if self.health in _ILL else ""


@dataclass(frozen=True)
class StackLogLine:
    """A line of a node's or a service's log.

    Args:
        host: Whose.
        text: What it says.
        stamp: When it was logged, as text that sorts by time.

    """

    host: str
    text: str
    stamp: str = ""


@dataclass(frozen=True)
class Shell:
    """What opens a shell on a node.

    Args:
        command: The command.
        env: Its environment; None where it is this process's.
        cwd: Its folder; None where it is this process's.

    """

    command: list[str]
    env: dict[str, str] | None = None
    cwd: str | None = None


class StackView(Protocol):
    """A standing stack, looked at by another command than the one that brought it up."""

    def part(self, host: str) -> StackMember:
        """Look at a node, the control plane or the hub."""
        ...

    def logs(self, hosts: tuple[str, ...], *, follow: bool) -> Iterator[StackLogLine]:
        """Yield lines of logs: what is there in one order, by time, and then what comes."""
        ...

    def shell(self, host: str, job: Mapping[str, str]) -> Shell:
        """Say what opens a shell on a node, as the sweep's own processes see it.

        Args:
            host: The node.
            job: The sweep's variables.

        """
        ...
