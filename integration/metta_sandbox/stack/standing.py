"""The standing stack: brought up once, leased to one-off sweeps, there until it is stopped."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Any

from metta_sandbox import beneath, removing
from metta_sandbox.errors import InputError, StackError
from metta_sandbox.progress import Progress
from metta_sandbox.stack.engines.base import OBSERVATIONS, Engine, NodePower, Stack, StackPlan
from metta_sandbox.stack.engines.sidecars import Sidecars
from metta_sandbox.stack.lease import Owner
from metta_sandbox.stack.link import HubLink
from metta_sandbox.stack.provision import Provision
from metta_sandbox.stack.standing_record import StandingRecord, StandingUse, standing_folder, take

if TYPE_CHECKING:
    from metta_sandbox.stack.lost import RunTraces

#: Seconds within which nodes must have ended what a killed harness left on them.
_SETTLED = 20.0


class StandingStack(Stack):
    """A standing stack as one sweep sees it: up already, and left up.

    Args:
        plan: What the sweep wants.
        record: The standing stack.
        stack: The same, as it was made.
        use: Holds the stack for this sweep until it is closed.

    """

    def __init__(self, plan: StackPlan, record: StandingRecord, stack: Stack, use: IO[str]) -> None:
        super().__init__(plan)
        self._record = record
        self._stack = stack
        self._use = use
        self._marks: dict[Path, int] = {}

    @property
    def python(self) -> str:
        """The nodes' interpreter."""
        return self._record.python

    @property
    def run_folder(self) -> Path:
        """The folder that all nodes share, on this machine."""
        return self._record.plan().run_folder

    @property
    def ready(self) -> Mapping[str, Any]:
        """The control plane's ``api.ready``, which was said when the stack was brought up."""
        return self._record.ready

    def preview(self) -> dict[str, Any]:
        """Say what every node sees."""
        return self._stack.preview()

    def up(self, progress: Progress) -> None:
        """Hand the sweep's scenario to nodes on which nothing runs any more."""
        progress(f"using the standing stack: {', '.join(self._record.hosts)}")
        self._settle()
        shared = self._record.plan().run_folder
        removing.empty(shared)
        name = self._plan.scenario_file.name
        beneath.create(shared, PurePath(name), self._plan.scenario_file.read_bytes())
        # Here this sweep's part of each log begins.
        self._marks = {path: path.stat().st_size for path in self._records()}

    def _settle(self) -> None:
        """End what a sweep has left running whose harness was killed, and hear it out.

        Raises:
            StackError: A node does not answer.

        """
        deadline = time.monotonic() + _SETTLED
        while True:
            link = self._stack.connect()
            try:
                for host in self._record.hosts:
                    for group in link.request(host, "groups", patience=_SETTLED):
                        if group["status"] is None:
                            link.request(host, "stop", group=group["group"], grace=1.0)
            except StackError:
                # The hub may not have noticed yet that the other harness is gone.
                if time.monotonic() > deadline:
                    raise
            else:
                return
            finally:
                link.close()

    def connect(self) -> HubLink:
        """Connect to the hub."""
        return self._stack.connect()

    @property
    def answers(self) -> Path | None:
        """Where the harness answers the stack's package index."""
        return self._stack.answers

    def index_environment(self, ready: Mapping[str, Any]) -> dict[str, str]:
        """Tell the nodes where that is."""
        return self._stack.index_environment(ready)

    def service_environment(self, ready: Mapping[str, Any]) -> dict[str, str]:
        """Tell the nodes where the control plane is."""
        return self._stack.service_environment(ready)

    def working_folder(self) -> str:
        """Return the folder in which commands start on a node."""
        return self._stack.working_folder()

    def fallen(self) -> dict[str, str]:
        """Say which hosts have ended."""
        return self._stack.fallen()

    def start_again(self, host: str) -> None:
        """Start a node's first process again."""
        self._stack.start_again(host)

    def power(self) -> NodePower:
        """Return what ends, freezes and limits its nodes."""
        return self._stack.power()

    def disks(self) -> Sidecars | None:
        """Return the sidecars that fill the disks that nodes see."""
        return self._stack.disks()

    def network(self) -> Sidecars | None:
        """Return the sidecars that strike the network of hosts."""
        return self._stack.network()

    def collect(self) -> None:
        """Bring this sweep's part of what the stack has written into its artifacts."""
        folder = standing_folder()
        if (folder / "compose.yaml").exists():
            shutil.copy(folder / "compose.yaml", self._plan.folder)
        for path in self._records():
            target = self._plan.folder / path.relative_to(folder)
            target.parent.mkdir(exist_ok=True)
            with path.open("rb") as source, target.open("wb") as copy:
                source.seek(self._marks.get(path, 0))
                shutil.copyfileobj(source, copy)

    def down(self) -> None:
        """Leave the stack up, and free it for the next sweep."""
        self._use.close()

    def describe(self) -> dict[str, Any]:
        """Return what the stack is made of."""
        return {**self._stack.describe(), "standing": True}

    def _records(self) -> list[Path]:
        """Return the files that only ever grow: logs, and the control plane's transcript."""
        self._stack.collect()
        folder = standing_folder()
        return [*(folder / "logs").glob("*.log"), *(folder / "api").glob("requests.jsonl")]


class StandingEngine(Engine):
    """Leases the standing stack, to one sweep at a time.

    Args:
        record: The standing stack.
        engine: What it is on.
        stack: The same, as it was made.
        sweep: The sweep that asks for it.
        words: The command that it runs on every node.

    """

    def __init__(
        self,
        record: StandingRecord,
        engine: Engine,
        stack: Stack,
        sweep: str,
        words: tuple[str, ...],
    ) -> None:
        super().__init__(engine.versions)
        self.name, self.nodes, self.has = engine.name, engine.nodes, engine.has
        self._record = record
        self._engine = engine
        self._stack = stack
        self._sweep = sweep
        self._words = words

    def prepare(self, provision: Provision, progress: Progress, *, gpu: bool) -> None:  # noqa: ARG002
        """Refuse what a stack that is up already can't be given.

        Raises:
            InputError: Always.

        """
        raise InputError(
            "the standing stack has no requirements or images of a scenario's",
            "metta-sandbox stop, and launch it again; or metta-sandbox up --requirements FILE",
        )

    def lease(self, plan: StackPlan, owner: Owner, progress: Progress) -> Stack:  # noqa: ARG002
        """Return the standing stack for one sweep.

        Raises:
            StackError: Another sweep is on it.
            InputError: The sweep resumes another, whose control plane this stack has not.

        """
        if (plan.run_folder / OBSERVATIONS).exists():
            raise InputError(
                "a sweep can't be resumed on the standing stack, which has its own control plane",
                "metta-sandbox stop, and launch it again",
            )
        use = take(StandingUse(owner.run, self._sweep, self._words))
        return StandingStack(plan, self._record, self._stack, use)

    def made(self) -> dict[str, RunTraces]:
        """Find what there is of runs, as the engine does that it is on."""
        return self._engine.made()

    def remove(self, run: str) -> None:
        """Remove what a run has left; nothing of a sweep's is left beside the stack itself."""
        self._engine.remove(run)
