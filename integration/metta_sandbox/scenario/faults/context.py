"""What faults are carried out on, as far as they know it: a protocol, which the harness fulfils.

So a kind of fault needs nothing of engines and nodes, and can stand where the language does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from metta_sandbox.node.agent.messages import Asks, GroupState, Order, ProcessState, RankState, Seen

#: What a node does, in words.
RUNS = "runs"
STANDS_STILL = "stands still"

B_co = TypeVar("B_co", covariant=True)


class Power(Protocol):
    """The power over nodes that whoever owns the machine has."""

    def signal(self, host: str, number: int) -> None:
        """Send a signal to a node's first process; SIGKILL takes all others along."""
        ...

    def freeze(self, host: str) -> None:
        """Let everything on a node stand still."""
        ...

    def thaw(self, host: str) -> None:
        """Let it go on."""
        ...

    def start(self, host: str) -> None:
        """Start a node again that has ended."""
        ...

    def state(self, host: str) -> str:
        """Say what a node does: ``RUNS``, ``STANDS_STILL``, or how it ended."""
        ...

    def limit(self, host: str, *limits: str) -> None:
        """Set limits of a node, as ``docker update`` takes them.

        Raises:
            StackError: It is no container, or the engine refuses.

        """
        ...

    def read(self, host: str, *paths: str) -> str:
        """Read the first file that is there, as the node sees it.

        Raises:
            StackError: None is.

        """
        ...


class SidecarLike(Protocol):
    """Somebody beside a host, who strikes it from there."""

    host: str

    def ask(self, verb: str, patience: float = 0.0, **args: Any) -> Any:
        """Have it do something.

        Raises:
            StackError: It refuses, or is gone.

        """
        ...


class NetworkSidecarLike(SidecarLike, Protocol):
    """Somebody in a host's network."""

    address: str

    def datagrams(self) -> tuple[str, int]:
        """Where it takes datagrams."""
        ...

    def connections(self) -> tuple[str, int]:
        """Where it takes connections."""
        ...


class SidecarsLike(Protocol[B_co]):
    """All who are beside hosts for one purpose."""

    def beside(self, host: str) -> B_co:
        """Give whoever is beside a host.

        Raises:
            StackError: Nobody could be.

        """
        ...


class PlanLike(Protocol):
    """The folders and hosts of what is played."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """The nodes' host names, by rank."""
        ...

    @property
    def run_folder(self) -> Path:
        """The folder that nodes share, as the harness sees it."""
        ...


class Context(Protocol):
    """Where a scenario's faults strike. Whatever asks a node may raise a StackError."""

    @property
    def plan(self) -> PlanLike:
        """Its folders and hosts."""
        ...

    @property
    def power(self) -> Power:
        """What ends, freezes and thaws whole nodes."""
        ...

    @property
    def start_on(self) -> Callable[[str], None]:
        """Starts the sweep's command on a node that was left out."""
        ...

    @property
    def network(self) -> SidecarsLike[NetworkSidecarLike] | None:
        """What strikes networks, from beside nodes; None where nothing can."""
        ...

    @property
    def disks(self) -> SidecarsLike[SidecarLike] | None:
        """What fills disks, from beside nodes; None where nothing can."""
        ...

    @property
    def still(self) -> set[str]:
        """Nodes that stand still, whose answers nobody waits for."""
        ...

    @property
    def shared_folder(self) -> str:
        """The folder that nodes share, as a container sees it."""
        ...

    def host_of(self, rank: int) -> str:
        """Name the node that a rank runs on."""
        ...

    @property
    def ask(self) -> Asks:
        """What asks a node's agent."""
        ...

    def groups(self, host: str) -> Sequence[GroupState]:
        """List the process groups of a node."""
        ...

    def command(self, host: str) -> GroupState | None:
        """Find the process group of the sweep's command on a node."""
        ...

    def trainer(self, rank: int) -> RankState | None:
        """Find the process of a rank's trainer: the live one, or else the last."""
        ...

    def processes(self, host: str) -> Sequence[ProcessState]:
        """List the live processes of a node."""
        ...

    def state_of(self, host: str, pid: int) -> str:
        """Give the state of a process as the kernel's letter; empty for one that is not there."""
        ...

    def order(self, rank: int, order: Order, patience: float) -> Seen:
        """Order something of what was put into a rank."""
        ...

    def set_rule(self, name: str, rule: Mapping[str, Any] | None) -> None:
        """Have the control plane follow a rule from now on, or no longer."""
        ...
