"""What is remembered of a standing stack: what it is made of, and which sweep is on it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from platformdirs import user_state_path

from metta_sandbox.errors import StackError
from metta_sandbox.stack.credentials import Credential
from metta_sandbox.stack.engines.base import StackPlan
from metta_sandbox.words import many

#: The Compose project that makes a standing stack, and so what its containers' names begin with.
PROJECT = "metta"


@dataclass(frozen=True)
class StandingRecord:
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
    """Return the plan of a standing stack."""
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


def find_record() -> StandingRecord | None:
    """Return the standing stack that is remembered, which may since have broken."""
    try:
        told = json.loads((standing_folder() / "stack.json").read_text())
        return StandingRecord(**{**told, "hosts": tuple(told["hosts"])})
    except (OSError, ValueError, TypeError, KeyError):
        # None, or one written in half or by another version: `up` starts anew.
        return None


def remember(record: StandingRecord) -> None:
    """Write a standing stack down."""
    path = standing_folder() / "stack.json"
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(asdict(record)))
    draft.replace(path)


def forget() -> None:
    """Remove everything that is kept of a standing stack."""
    shutil.rmtree(standing_folder(), ignore_errors=True)


@dataclass(frozen=True)
class StandingUse:
    """A sweep on the standing stack.

    Args:
        run: The run that plays it.
        sweep: The sweep's name.
        words: The command that runs on every node.

    """

    run: str
    sweep: str
    words: tuple[str, ...]


def last_use() -> StandingUse | None:
    """Return the sweep that is on the standing stack, or else the last one that was."""
    try:
        told = json.loads(_use_file().read_text())
        return StandingUse(told["run"], told["sweep"], tuple(told["words"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _use_file() -> Path:
    return standing_folder() / "use.json"


def take(use: StandingUse) -> IO[str]:
    """Take the standing stack for one sweep, until the file is closed or this process ends.

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
