"""The seam between a rollout and whatever starts a trial's trainers on its node."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from metta_sandbox.node.agent.client import AgentClient, AgentError, Told
from metta_sandbox.node.agent.stacks import NATIVE_STACKS
from metta_sandbox.probes import source
from metta_sandbox.probes.look_at_processes import BETWEEN_LOOKS

#: Seconds between two looks at a node: the other one's failure is known, so that no more are spent.
_BETWEEN_LOOKS = "1"


@dataclass(frozen=True)
class GroupSpec:
    """The trainers of one trial on one node.

    Args:
        group: Names them among the node's process groups.
        command: What one rank runs.
        env: Variables for each rank, beside the node's own.
        cwd: The working folder.
        num_nodes: Nodes in the trial.
        node_rank: This node's index.
        ranks_per_node: Trainers on each node.
        master_addr: Host of the rendezvous.
        master_port: Port of the rendezvous.
        log_folder: Where each rank's ``rank-<R>.log`` goes.

    """

    group: str
    command: tuple[str, ...]
    num_nodes: int
    node_rank: int
    master_addr: str
    master_port: int
    log_folder: Path
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    ranks_per_node: int = 1

    @property
    def launcher_log(self) -> Path:
        """Where what the launcher itself says of this node goes."""
        return self.log_folder / f"launcher-{self.node_rank}.log"

    @property
    def look_file(self) -> Path:
        """Where is kept what was seen of this node when another one had failed."""
        return self.log_folder / f"autopsy-{self.node_rank}.json"


class WorkerGroup:
    """A trial's trainers on this node, as started by a launcher."""

    def __init__(self, client: AgentClient, spec: GroupSpec) -> None:
        self._client = client
        self._spec = spec

    def next(self, deadline: float) -> Told:
        """Return the next event of the trainers, or their end, or None at the deadline.

        An event has ``type`` ``event`` and a ``record``; the end has ``type`` ``exit``, a
        ``status``, and ``ranks`` with ``rank``, ``local_rank``, ``pid``, ``status``, ``log``.

        Args:
            deadline: By ``time.monotonic``.

        """
        return self._client.next(self._spec.group, deadline)

    def look(self, patience: float) -> None:
        """See what each process of this node is at, into ``look_file``; without it, see nothing.

        Args:
            patience: Seconds that this may take.

        """
        file = self._spec.look_file
        command = [sys.executable, "-c", source("look_at_processes"), file.name]
        group = f"look-{self._spec.group}"
        env = {
            "METTA_RUN_FOLDER": str(file.parent),
            NATIVE_STACKS: os.environ.get(NATIVE_STACKS, ""),
            BETWEEN_LOOKS: _BETWEEN_LOOKS,
        }
        with suppress(AgentError):
            self._client.start(group, command, env)
            deadline = time.monotonic() + patience
            while (told := self._client.next(group, deadline)) is not None:
                if told["type"] == "exit":
                    return
            self._client.request("stop", group=group, grace=0.0)

    def stop(self, grace: float) -> None:
        """Terminate them, and kill what is left after ``grace`` seconds."""
        self._client.request("stop", group=self._spec.group, grace=grace)


class Launcher(Protocol):
    """Starts trainers."""

    def launch(self, spec: GroupSpec) -> WorkerGroup:
        """Start the trainers of one trial on this node."""
        ...
