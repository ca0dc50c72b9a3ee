"""The standing stack: brought up once, leased to one-off sweeps, there until it is stopped."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Any

from platformdirs import user_state_path

from metta_sandbox import beneath, removing
from metta_sandbox.errors import InputError, StackError
from metta_sandbox.progress import Progress
from metta_sandbox.stack.credentials import Credential
from metta_sandbox.stack.engines.base import OBSERVATIONS, Engine, Power, Stack, StackPlan
from metta_sandbox.stack.engines.sidecars import NetworkSidecar, Sidecar, Sidecars
from metta_sandbox.stack.lease import Owner
from metta_sandbox.stack.link import HubLink
from metta_sandbox.stack.provision import Provision
from metta_sandbox.words import many

if TYPE_CHECKING:
    from metta_sandbox.stack.lost import Made

#: The Compose project that makes a standing stack, and so what its containers' names begin with.
PROJECT = "metta"
#: Seconds within which nodes must have ended what a killed harness left on them.
_SETTLED = 20.0


@dataclass(frozen=True)
class Record:
    """A standing stack, as it is remembered on disk.

    Args:
        engine: ``compose`` or ``process``.
        hosts: The nodes' host names, by rank.
        hardware: The profile.
        source: The working copy that every node sees, or None.
        credentials: Whether nodes see the caller's credentials.
        python: The nodes' interpreter.
        ready: The fields of the control plane's ``api.ready``.
        began: When it was brought up, in seconds since the epoch.

    """

    engine: str
    hosts: tuple[str, ...]
    hardware: str
    source: str | None
    python: str
    credentials: bool = False
    ready: Mapping[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=time.time)

    def misfit(
        self,
        *,
        engine: str,
        nodes: int,
        hardware: str,
        source: Path | None,
        credentials: bool,
    ) -> str:
        """Say why a sweep can't be on this stack, or nothing. What it leaves open always fits.

        Args:
            engine: ``auto``, ``compose`` or ``process``.
            nodes: How many it wants.
            hardware: The profile.
            source: The working copy that its nodes must see; None: whichever.
            credentials: Whether its nodes must see the caller's.

        """
        if engine not in {"auto", self.engine}:
            return f"it is on {self.engine}"
        if nodes != len(self.hosts):
            return f"it has {many(len(self.hosts), 'node')}, not {nodes}"
        if hardware != self.hardware:
            return f"it is for +hardware={self.hardware}"
        if source and str(source) != self.source:
            return f"its source is {self.source}" if self.source else "it has no --source"
        return "it has no --credentials" if credentials and not self.credentials else ""

    def rank(self, host: str) -> int | None:
        """Return a node's rank; None of a service."""
        return self.hosts.index(host) if host in self.hosts else None

    def plan(self) -> StackPlan:
        """Return the plan it was made from."""
        source = Path(self.source) if self.source else None
        return standing_plan(self.hosts, self.hardware, source)


def standing_folder() -> Path:
    """Return where the standing stack keeps what it needs."""
    return Path(user_state_path("metta-sandbox")) / "standing"


def standing_run() -> str:
    """Return the run that this user's standing stack belongs to; others on this host differ."""
    return f"standing-{hashlib.sha256(str(standing_folder()).encode()).hexdigest()[:8]}"


def standing_plan(
    hosts: tuple[str, ...],
    hardware: str,
    source: Path | None,
    credentials: tuple[Credential, ...] = (),
) -> StackPlan:
    """Say what a standing stack is made of."""
    return StackPlan(
        run=standing_run(),
        scenario="stack",
        hosts=hosts,
        folder=standing_folder(),
        hardware=hardware,
        source=source,
        credentials=credentials,
        standing=True,
    )


def find_record() -> Record | None:
    """Return the standing stack that is remembered, which may since have broken."""
    try:
        told = json.loads((standing_folder() / "stack.json").read_text())
        return Record(**{**told, "hosts": tuple(told["hosts"])})
    except (OSError, ValueError, TypeError, KeyError):
        # None, or one written in half or by another version: `up` starts anew.
        return None


def remember(record: Record) -> None:
    """Write a standing stack down."""
    path = standing_folder() / "stack.json"
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(asdict(record)))
    draft.replace(path)


def forget() -> None:
    """Remove everything that is kept of a standing stack."""
    shutil.rmtree(standing_folder(), ignore_errors=True)


@dataclass(frozen=True)
class Use:
    """A sweep on the standing stack.

    Args:
        run: The run that plays it.
        sweep: The sweep's name.
        words: The command that runs on every node.

    """

    run: str
    sweep: str
    words: tuple[str, ...]


def last_use() -> Use | None:
    """Return the sweep that is on the standing stack, or else the last one that was."""
    try:
        told = json.loads(_use_file().read_text())
        return Use(told["run"], told["sweep"], tuple(told["words"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _use_file() -> Path:
    return standing_folder() / "use.json"


def _take(use: Use) -> IO[str]:
    """Take the standing stack for one sweep. Whoever dies with it leaves it free.

    Raises:
        StackError: Another sweep is on it.

    """
    file = _use_file().open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        other = last_use()
        by = f" by the sweep {other.sweep} of the run {other.run}" if other else ""
        raise StackError(
            f"the standing stack is in use{by}",
            "wait for it (metta-sandbox status), or end it with Ctrl-C where it runs",
        ) from None
    file.truncate(0)
    file.write(json.dumps(asdict(use)))
    file.flush()
    return file


class StandingStack(Stack):
    """A standing stack as one sweep sees it: up already, and left up.

    Args:
        plan: What the sweep wants.
        record: The standing stack.
        stack: The same, as it was made.
        use: Holds the stack for this sweep until it is closed.

    """

    def __init__(self, plan: StackPlan, record: Record, stack: Stack, use: IO[str]) -> None:
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

    def power(self) -> Power:
        """Give what has power over its nodes."""
        return self._stack.power()

    def disks(self) -> Sidecars[Sidecar] | None:
        """Give what fills the disks that nodes see."""
        return self._stack.disks()

    def network(self) -> Sidecars[NetworkSidecar] | None:
        """Give what strikes the network of hosts."""
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
        """Leave it up, for the next sweep."""
        self._use.close()

    def describe(self) -> dict[str, Any]:
        """Say what it is made of."""
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
        record: Record,
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
        """Give the standing stack.

        Raises:
            StackError: Another sweep is on it.
            InputError: The sweep resumes another, whose control plane this stack has not.

        """
        if (plan.run_folder / OBSERVATIONS).exists():
            raise InputError(
                "a sweep can't be resumed on the standing stack, which has its own control plane",
                "metta-sandbox stop, and launch it again",
            )
        use = _take(Use(owner.run, self._sweep, self._words))
        return StandingStack(plan, self._record, self._stack, use)

    def made(self) -> dict[str, Made]:
        """Find what there is of runs."""
        return self._engine.made()

    def remove(self, run: str) -> None:
        """Remove what a run has left; nothing of a sweep's is left beside the stack itself."""
        self._engine.remove(run)
