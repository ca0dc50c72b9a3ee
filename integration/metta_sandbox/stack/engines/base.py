"""What an engine is, what it can do, and what the stacks are that it makes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metta_sandbox.errors import MachineError, StackError
from metta_sandbox.progress import Progress
from metta_sandbox.scenario.abilities import Ability
from metta_sandbox.stack.credentials import Credential
from metta_sandbox.stack.engines.sidecars import Sidecars
from metta_sandbox.stack.engines.view import StackView
from metta_sandbox.stack.lease import Owner
from metta_sandbox.stack.link import HubLink
from metta_sandbox.stack.marks import remove_run
from metta_sandbox.stack.node_environment import Whose
from metta_sandbox.stack.provision import Provision
from metta_sandbox.stack.sidecar_service import SidecarService

if TYPE_CHECKING:
    from metta_sandbox.stack.lost import RunTraces
    from metta_sandbox.stack.standing_record import StandingRecord

#: The file of the run folder that holds what a sweep observed.
OBSERVATIONS = "observations.jsonl"
#: Where nodes that are containers see the folder that all of them share.
RUN_FOLDER = "/mnt/s3/train_dir"
#: Where the harness and all nodes' agents meet.
HUB = "hub"


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
        variables: Whose variables nodes have beside these: ours, or those that SkyPilot sets.
        credentials: What of the caller's home every node sees, read-only.
        standing: Whether it outlives the run that makes it.
        provision: What nodes are to have beyond what all have.
        sidecars: What is to be beside each node, where nodes are containers.
        apart: Why no other scenario may use its containers before or after it; if empty, one may.
        wandb: Whether it has a stand-in for W&B's server, too.

    """

    run: str
    scenario: str
    hosts: tuple[str, ...]
    folder: Path
    hardware: str = "macbook"
    source: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    variables: Whose = "sandbox"
    credentials: tuple[Credential, ...] = ()
    standing: bool = False
    provision: Provision = field(default_factory=Provision)
    sidecars: tuple[SidecarService, ...] = ()
    apart: str = "it is not played with others"
    wandb: bool = False

    @property
    def task(self) -> str:
        """The name of the scenario's task, as in ``SKYPILOT_TASK_ID``."""
        return f"{self.run}-{self.scenario}"

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


class NodePower(ABC):
    """Ends, freezes and limits whole nodes, as whoever owns the machine can.

    Args:
        stack: Theirs.

    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    @abstractmethod
    def signal(self, host: str, number: int) -> None:
        """Send a signal to a node's first process; SIGKILL takes all others along."""

    @abstractmethod
    def freeze(self, host: str) -> None:
        """Stop every process of a node, until ``thaw``."""

    @abstractmethod
    def thaw(self, host: str) -> None:
        """Continue every process of a node that was frozen."""

    def start(self, host: str) -> None:
        """Start a node again that has ended."""
        self._stack.start_again(host)

    @abstractmethod
    def state(self, host: str) -> str:
        """Say what a node does: ``RUNS``, ``STANDS_STILL``, or how it ended."""

    def limit(self, host: str, *limits: str) -> None:  # noqa: ARG002
        """Set limits of a node, as ``docker update`` takes them.

        Raises:
            StackError: It is no container, or the engine refuses.

        """
        raise StackError(f"{host} is no container")

    def read(self, host: str, *paths: str) -> str:  # noqa: ARG002
        """Read the first file that is there, as the node sees it.

        Raises:
            StackError: None is, or the node sees what this machine does.

        """
        raise StackError(f"{host} is no container")


class Stack(ABC):
    """Nodes and services of one scenario.

    What it is made of may be there in part only: ``collect`` and ``down`` work at any moment.

    Args:
        plan: What is wanted.

    """

    def __init__(self, plan: StackPlan) -> None:
        self._plan = plan

    @property
    @abstractmethod
    def python(self) -> str:
        """The nodes' interpreter, as a node sees it."""

    @property
    def run_folder(self) -> Path:
        """The folder that all nodes share, on this machine."""
        return self._plan.run_folder

    @property
    def ready(self) -> Mapping[str, Any]:
        """What the control plane said in ``api.ready``, if the stack was up before; else empty."""
        return {}

    @abstractmethod
    def preview(self) -> dict[str, Any]:
        """Say what every node will see, before anything is started.

        Returns:
            ``nodes``: by host, its ``folder``, ``environment`` and ``mounts``; and whatever else
            the engine would be asked.

        """

    @abstractmethod
    def up(self, progress: Progress) -> None:
        """Start nodes, hub and control plane.

        Raises:
            StackError: It does not start; what was started is left for ``collect`` and ``down``.

        """

    @abstractmethod
    def connect(self) -> HubLink:
        """Open a connection to the hub."""

    @abstractmethod
    def service_environment(self, ready: Mapping[str, Any]) -> dict[str, str]:
        """Tell the nodes where the control plane is, from its ``api.ready`` event."""

    @property
    def answers(self) -> Path | None:
        """Where the harness answers the stack's package index; None if there is no index."""
        return None

    def index_environment(self, ready: Mapping[str, Any]) -> dict[str, str]:  # noqa: ARG002
        """Tell the nodes where that is, from ``api.ready``; nothing if there is none."""
        return {}

    @abstractmethod
    def working_folder(self) -> str:
        """Return the folder in which commands start on a node."""

    @abstractmethod
    def fallen(self) -> dict[str, str]:
        """Say of each node and service that has ended how it did, and its last words."""

    @abstractmethod
    def start_again(self, host: str) -> None:
        """Start the first process of a node again, as it was started before, once it has ended.

        Raises:
            StackError: It does not start.

        """

    @abstractmethod
    def power(self) -> NodePower:
        """Return what ends, freezes and limits its nodes."""

    def disks(self) -> Sidecars | None:
        """Return the sidecars that fill the disks that nodes see; None if there can be none."""
        return None

    def network(self) -> Sidecars | None:
        """Return the sidecars that strike the network of hosts; None if there can be none."""
        return None

    def end_sidecars(self) -> None:
        """End the plan's sidecars, if there are any, while the nodes are still there."""
        return

    def collect(self) -> None:
        """Write whole logs into ``logs/`` of the scenario's folder, if they are not there."""
        return

    @abstractmethod
    def down(self) -> None:
        """Stop and remove everything. Doing it twice is no error."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return what the stack is made of, for ``environment.json``."""


@dataclass(frozen=True)
class Sharing:
    """What scenarios of a run can share.

    Args:
        nodes: Of how many nodes of each stack torch is imported once.
        scenarios: How many can take turns on nodes.
        stacks: How many stacks there are at once.

    """

    nodes: int = 0
    scenarios: int = 0
    stacks: int = 1


class NoAnswerError(MachineError):
    """Nobody answers who would have to for an engine; ``auto`` then takes the other."""


class Engine(ABC):
    """Makes stacks, and removes what runs have left of them.

    Attributes:
        name: What ``--engine`` calls it.
        nodes: What its nodes are, in words.
        has: What it can do.
        versions: Of what it needs on this machine.

    """

    name: str
    nodes: str
    has: frozenset[Ability] = frozenset()

    def __init__(self, versions: Mapping[str, str] | None = None) -> None:
        self.versions = dict(versions or {})

    def prepare(  # noqa: B027 - mostly, there is nothing to prepare
        self, provision: Provision, progress: Progress, *, gpu: bool
    ) -> None:
        """Fetch or build what a scenario brings along, so that stacks find it.

        Args:
            provision: What it brings along.
            progress: Gets a line for each step.
            gpu: Whether its nodes have GPUs.

        Raises:
            InputError: A requirement or an image can't be had, or nodes can't be made of it.
            MachineError: Indexes or registries do not answer, or have nothing that fits.
            StackError: An image could not be built.

        """

    def sharing(self, run: str, wanted: Sharing) -> AbstractContextManager[None]:  # noqa: ARG002
        """Set up what a run's stacks can share, as long as the block lasts.

        Args:
            run: The run's id.
            wanted: What they can.

        """
        return nullcontext()

    @abstractmethod
    def lease(self, plan: StackPlan, owner: Owner, progress: Progress) -> Stack:
        """Return a stack for a scenario. It is not up yet."""

    def give_back(self, stack: Stack, *, clean: bool) -> None:  # noqa: ARG002
        """Take a leased stack back from its scenario, whatever state it is in.

        Args:
            stack: What was leased.
            clean: Whether its scenario came to its end as it should.

        """
        stack.down()

    def made(self) -> dict[str, RunTraces]:
        """Find what there is of runs, by their ids, beside processes and files of this machine."""
        return {}

    def remove(self, run: str) -> None:
        """Remove all that is left of a run: processes of this machine and their files.

        Raises:
            StackError: Something can't be removed.

        """
        remove_run(run)

    def strangers(self) -> tuple[str, ...]:
        """Name what of somebody else's would be taken for our standing stack."""
        return ()

    def view(self, record: StandingRecord) -> StackView:  # noqa: ARG002
        """Return what looks at the standing stack.

        Raises:
            MachineError: It can't be looked at now.

        """
        raise StackError(f"the engine {self.name} has no {Ability.STANDING}")
