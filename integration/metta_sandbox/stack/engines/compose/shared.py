"""A scenario's turn on a stack that is kept: to whoever plays it, a stack like any other."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

from metta_sandbox.errors import StackError
from metta_sandbox.progress import Progress
from metta_sandbox.stack.engines.base import NodePower, Stack, StackPlan
from metta_sandbox.stack.engines.compose.kept import KeptStack
from metta_sandbox.stack.engines.compose.pool import Pool
from metta_sandbox.stack.engines.compose.stack import ComposeStack
from metta_sandbox.stack.link import HubLink

#: Where stacks that are kept have their folders, in a run's.
FOLDER = ".stacks"


class SharedStack(Stack):
    """Nodes as containers that were, or will be, another scenario's of the same run.

    Args:
        plan: What is wanted.
        pool: Who lends it.
        make: Makes the containers of a kept stack of this number.
        own: What it would have had by itself.

    """

    def __init__(
        self,
        plan: StackPlan,
        pool: Pool,
        make: Callable[[int], KeptStack],
        own: ComposeStack,
    ) -> None:
        super().__init__(plan)
        self._pool = pool
        self._make = make
        self._own = own
        self._kept: KeptStack | None = None
        self._after = ""
        self._left: list[str] | None = None
        self._described: dict[str, Any] = {}
        self._progress: Progress = _nothing

    @property
    def python(self) -> str:
        """The nodes' interpreter."""
        return self._own.python

    def preview(self) -> dict[str, Any]:
        """Say what every node will see."""
        return self._own.preview()

    def up(self, progress: Progress) -> None:
        """Get a stack from the pool, and begin a turn on it."""
        self._progress = progress
        needs = needs_of(self._plan)
        self._kept = self._pool.take(needs, self._make)
        self._after = self._kept.last
        if self._after:
            try:
                self._kept.begin(self._plan)
            except StackError as error:
                progress(f"not using the nodes of {self._after} again: {error}")
                self.down()
                self._kept = self._pool.take_new(self._make)
                self._after = ""
            else:
                progress(f"using the nodes of {self._after} again")
                return
        self._kept.up(progress)
        self._kept.begin(self._plan)

    def connect(self) -> HubLink:
        """Connect to the hub."""
        return self._inner.connect()

    @property
    def _inner(self) -> ComposeStack:
        return self._kept.inner if self._kept else self._own

    def service_environment(self, ready: Mapping[str, Any]) -> dict[str, str]:
        """Tell the nodes where the control plane is."""
        return self._inner.service_environment(ready)

    @property
    def answers(self) -> Path:
        """Where the harness answers the stack's package index."""
        return self._inner.answers

    def index_environment(self, ready: Mapping[str, Any]) -> dict[str, str]:
        """Tell the nodes where that is."""
        return self._inner.index_environment(ready)

    def working_folder(self) -> str:
        """Return the folder in which commands start on a node."""
        return self._own.working_folder()

    def fallen(self) -> dict[str, str]:
        """Say of each node and service that has ended how it did, and its last words."""
        return self._inner.fallen()

    def start_again(self, host: str) -> None:
        """Refuse: a scenario that is to lose a node has nodes of its own.

        Raises:
            StackError: Always.

        """
        raise StackError(f"{host} belongs to several scenarios, and is not started again")

    def power(self) -> NodePower:
        """Return what ends, freezes and limits its containers."""
        return self._inner.power()

    def collect(self) -> None:
        """End the turn, and write its part of each container's log."""
        if self._kept is not None:
            self._left = ["they were not left in order"]
            self._left = self._kept.end(self._plan)

    def hand_on(self) -> None:
        """Leave the stack to the next, if it is as it was at first; else remove it."""
        kept, left = self._kept, self._left
        if kept is not None and left == [] and self._pool.put(needs_of(self._plan), kept):
            self._described = kept.inner.describe()
            self._kept = None
            return
        if left:
            self._progress(f"its nodes are used no more: {'; '.join(left)}")
        self.down()

    def down(self) -> None:
        """Remove the stack from the pool, and its containers."""
        kept, self._kept = self._kept, None
        if kept is not None:
            self._described = kept.inner.describe()
            self._pool.drop(kept)

    def describe(self) -> dict[str, Any]:
        """Return what the stack is made of."""
        return {**self._described, "after": self._after}


def needs_of(plan: StackPlan) -> Hashable:
    """Say what must be the same for two scenarios to take turns on nodes."""
    env = tuple(sorted(plan.env.items()))
    provision = plan.provision
    given = (provision.shared_memory, provision.limits, provision.bundled_rollout)
    return plan.hosts, plan.hardware, given, env


def folder_of(plan: StackPlan, number: int) -> Path:
    """Name the folder of a run's kept stack."""
    return plan.folder.parent / FOLDER / str(number)


def _nothing(_text: str) -> None:
    """Discard a line of progress."""
