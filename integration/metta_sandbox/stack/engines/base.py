"""What a stack is, whatever it runs on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from metta_sandbox.progress import Progress
from metta_sandbox.stack.credentials import Credential
from metta_sandbox.stack.link import HubLink
from metta_sandbox.stack.provision import Provision
from metta_sandbox.stack.sidecar_service import SidecarService

#: The file of the run folder that holds what a sweep observed.
OBSERVATIONS = "observations.jsonl"


@dataclass(frozen=True)
class StackPlan:
    """What a scenario needs of a stack.

    Args:
        run: The run's id; everything created is labelled with it.
        scenario: The scenario's name.
        hosts: The nodes' host names, by rank.
        folder: The scenario's folder of artifacts, where evidence is written as it arises.
        hardware: The profile, ``macbook`` or ``gpu``.
        source: A folder of the user's that every node sees at ``/workspace``, or None.
        env: Variables for every node.
        credentials: What of the caller's home every node sees, read-only.
        standing: Whether it outlives the run that makes it.
        provision: What nodes are to have beyond what all have.
        sides: What is to be beside each node, where nodes are containers.
        apart: Why no other scenario may use its containers before or after it; if empty, one may.

    """

    run: str
    scenario: str
    hosts: tuple[str, ...]
    folder: Path
    hardware: str = "macbook"
    source: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    credentials: tuple[Credential, ...] = ()
    standing: bool = False
    provision: Provision = field(default_factory=Provision)
    sidecars: tuple[SidecarService, ...] = ()
    apart: str = "it is not played with others"

    @property
    def num_gpus(self) -> int:
        """The GPUs of each node: one for its one rank, or none."""
        return int(self.hardware == "gpu")

    @property
    def run_folder(self) -> Path:
        """The folder that all nodes share."""
        return self.folder / "shared"

    @property
    def scenario_file(self) -> Path:
        """The scenario as played, where all nodes can read it."""
        return self.run_folder / "scenario.yaml"


class Stack(Protocol):
    """Nodes and services of one scenario.

    What it is made of may be there in part only: ``collect`` and ``down`` work at any moment.
    """

    engine: str

    @property
    def python(self) -> str:
        """The nodes' interpreter, as a node sees it."""
        ...

    @property
    def run_folder(self) -> Path:
        """The folder that all nodes share, on this machine."""
        ...

    @property
    def ready(self) -> Mapping[str, Any]:
        """What the control plane said in ``api.ready``, if the stack was up before; else empty."""
        ...

    def preview(self) -> dict[str, Any]:
        """Say what every node will see, before anything is started.

        Returns:
            ``nodes``: by host, its ``folder``, ``environment`` and ``mounts``; and whatever else
            the engine would be asked.

        """
        ...

    def up(self, progress: Progress) -> None:
        """Start everything.

        Raises:
            StackError: It does not start; what was started is left for ``collect`` and ``down``.

        """
        ...

    def connect(self) -> HubLink:
        """Connect to the hub."""
        ...

    def service_environment(self, ready: Mapping[str, Any]) -> dict[str, str]:
        """Tell the nodes where the control plane is, from its ``api.ready`` event."""
        ...

    def working_folder(self) -> str:
        """Return the folder in which commands start on a node."""
        ...

    def fallen(self) -> dict[str, str]:
        """Say of each node and service that has ended how it did, and its last words."""
        ...

    def start_again(self, host: str) -> None:
        """Start the first process of a node again, as it was started before, once it has ended.

        Raises:
            StackError: It does not start.

        """
        ...

    def end_sidecars(self) -> None:
        """End what is beside the nodes, if anything is, while they are still there."""
        ...

    def collect(self) -> None:
        """Write whole container logs into ``logs/`` of the scenario's folder."""
        ...

    def down(self) -> None:
        """Stop and remove everything. Doing it twice is no error."""
        ...

    def describe(self) -> dict[str, Any]:
        """Say what it is made of, for ``environment.json``."""
        ...
