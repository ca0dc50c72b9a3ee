"""The standing stack: brought up once, leased to one-off sweeps, there until it is stopped."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from platformdirs import user_state_path

from metta_sandbox.errors import StackError
from metta_sandbox.stack.base import Progress, Stack, StackPlan
from metta_sandbox.stack.credentials import Credential
from metta_sandbox.stack.lease import Owner
from metta_sandbox.stack.link import HubLink

#: The run that a standing stack belongs to, and the Compose project that makes it.
RUN = "standing"
PROJECT = "metta"


@dataclass(frozen=True)
class Record:
    """A standing stack, as it is remembered on disk.

    Args:
        engine: ``compose`` or ``process``.
        hosts: The nodes' host names, by rank.
        hardware: The profile.
        source: The working copy that every node sees, or None.
        python: The nodes' interpreter.
        ready: The fields of the control plane's ``api.ready``.
        began: When it was brought up, in seconds since the epoch.

    """

    engine: str
    hosts: tuple[str, ...]
    hardware: str
    source: str | None
    python: str
    ready: Mapping[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=time.time)

    def plan(self) -> StackPlan:
        """Return the plan it was made from."""
        source = Path(self.source) if self.source else None
        return standing_plan(self.hosts, self.hardware, source)


def standing_folder() -> Path:
    """Return where the standing stack keeps what it needs."""
    return Path(user_state_path("metta-sandbox")) / "standing"


def standing_plan(
    hosts: tuple[str, ...],
    hardware: str,
    source: Path | None,
    credentials: tuple[Credential, ...] = (),
) -> StackPlan:
    """Say what a standing stack is made of."""
    return StackPlan(
        run=RUN,
        scenario=RUN,
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
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        # Written in half, or by another version: nothing is known of it, and `up` starts anew.
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


class StandingStack:
    """A standing stack as one sweep sees it: up already, and left up.

    Args:
        plan: What the sweep wants.
        record: The standing stack.
        stack: The same, as it was made.

    """

    def __init__(self, plan: StackPlan, record: Record, stack: Stack) -> None:
        self._plan = plan
        self._record = record
        self._stack = stack
        self.engine = record.engine
        self._marks: dict[Path, int] = {}

    @property
    def python(self) -> str:
        """The nodes' interpreter."""
        return self._record.python

    @property
    def ready(self) -> Mapping[str, Any]:
        """The control plane's ``api.ready``, which was said when the stack was brought up."""
        return self._record.ready

    def up(self, progress: Progress) -> None:
        """Hand the sweep's scenario to the nodes; remember where its part of logs begins."""
        progress(f"using the standing stack: {', '.join(self._record.hosts)}")
        shared = self._record.plan().run_folder
        for left in shared.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        shutil.copy(self._plan.scenario_file, shared)
        self._marks = {path: path.stat().st_size for path in self._records()}

    def connect(self) -> HubLink:
        """Connect to the hub."""
        return self._stack.connect()

    def service_environment(self, ready: Mapping[str, Any]) -> dict[str, str]:
        """Tell the nodes where the control plane is."""
        return self._stack.service_environment(ready)

    def working_folder(self) -> str:
        """Return the folder in which commands start on a node."""
        return self._stack.working_folder()

    def fallen(self) -> dict[str, str]:
        """Say which hosts have ended."""
        return self._stack.fallen()

    def collect(self) -> None:
        """Bring this sweep's part of everything into its artifacts."""
        shared = self._record.plan().run_folder
        for entry in list(shared.iterdir()):
            target = self._plan.run_folder / entry.name
            if not target.exists():
                shutil.move(entry, target)
        for path in self._records():
            target = self._plan.folder / path.relative_to(standing_folder())
            target.parent.mkdir(exist_ok=True)
            with path.open("rb") as source, target.open("wb") as copy:
                source.seek(self._marks.get(path, 0))
                shutil.copyfileobj(source, copy)

    def down(self) -> None:
        """Leave it up."""

    def describe(self) -> dict[str, Any]:
        """Say what it is made of."""
        return {**self._stack.describe(), "standing": True}

    def _records(self) -> list[Path]:
        """Return the files that only ever grow: logs, and the control plane's transcript."""
        self._stack.collect()
        folder = standing_folder()
        return [*(folder / "logs").glob("*.log"), *(folder / "api").glob("requests.jsonl")]


class StandingEngine:
    """Leases the standing stack, to one sweep at a time.

    Args:
        record: The standing stack.
        stack: The same, as it was made.
        versions: Of the engine beneath.

    """

    def __init__(self, record: Record, stack: Stack, versions: dict[str, str]) -> None:
        self._record = record
        self._stack = stack
        self.name = record.engine
        self.versions = versions

    def lease(self, plan: StackPlan, owner: Owner, progress: Progress) -> Stack:  # noqa: ARG002
        """Give the standing stack.

        Raises:
            StackError: It has other nodes than the sweep wants.

        """
        have, wanted = len(self._record.hosts), len(plan.hosts)
        if have != wanted:
            raise StackError(
                f"the standing stack has {have} nodes, and {wanted} are wanted",
                f"metta-sandbox stop && metta-sandbox up --nodes {wanted}",
            )
        return StandingStack(plan, self._record, self._stack)

    def give_back(self, stack: Stack) -> None:
        """Take the stack back."""
        stack.down()

    def remove(self, run: str) -> None:
        """Nothing of a sweep's is left beside the stack itself."""
