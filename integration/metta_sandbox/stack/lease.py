"""Who owns what on this host: a lock per run, and the removal of what dead runs left behind.

A run holds an exclusive ``flock`` on its lease for as long as it lives; the kernel drops it when
the process ends, however it ends. So a lease that can be locked has lost its owner, and what
carries its run's id may go. Nothing is ever judged by a process id alone. Where a lease is lost
itself, with its folder, or lies in somebody else's, `lost` judges what runs made.

Leases are made, judged and removed under one more lock, the folder's, so that none can be taken for
an orphan's while it is being made, and none be made in a file that is being removed.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from platformdirs import user_state_path

from metta_sandbox.homes import own_folder
from metta_sandbox.stack.owners import OwnerFate, ProcessPlace, fate, here, start_time

#: Labels on everything an engine makes for us.
LABEL = "dev.metta-sandbox"
_NUMBERS = ("pid", "started")
#: What things tell of their owner.
KEYS = ("run", "kind", "boot", "namespace", "machine", "leases", *_NUMBERS)


@dataclass(frozen=True)
class Owner:
    """A run, and the process it lives in.

    Args:
        run: The run's id.
        kind: ``run`` (lives as long as its process) or ``standing`` (until it is stopped).
        boot: The boot that the process belongs to.
        pid: The process.
        started: When the process started, in the kernel's clock ticks since boot.
        namespace: The namespace in which the process has this number.
        machine: The machine that the boot is one of.
        leases: The folder that its lease is in.
        engine: What it plays on, if that is known: ``compose`` or ``process``.

    """

    run: str
    kind: str = "run"
    boot: str = field(default_factory=lambda: here().boot)
    pid: int = field(default_factory=os.getpid)
    started: int = field(default_factory=start_time)
    namespace: str = field(default_factory=lambda: here().namespace)
    machine: str = field(default_factory=lambda: here().machine)
    leases: str = field(default_factory=lambda: str(leases_folder()))
    engine: str = ""

    def labels(self) -> dict[str, str]:
        """Return the owner as labels of containers, networks and volumes."""
        return {
            f"{LABEL}.{key}": str(value)
            for key, value in asdict(self).items()
            if key != "engine"  # which can see for itself
        }

    @classmethod
    def of_labels(cls, labels: Mapping[str, str]) -> Owner:
        """Read the labels of a container, network or volume. What they don't have stays empty."""
        return cls.of_told({key: labels.get(f"{LABEL}.{key}", "") for key in KEYS})

    @classmethod
    def of_told(cls, told: Mapping[str, Any]) -> Owner:
        """Read what was written down. What is missing or no number stays empty."""
        words = {key: str(told.get(key, "")) for key in KEYS}
        numbers = {key: int(words[key]) if words[key].isdecimal() else 0 for key in _NUMBERS}
        return cls(**{**words, **numbers})  # type: ignore[arg-type]

    def fate(self) -> tuple[OwnerFate, str]:
        """Find out what became of the run's process; and if that is not known, why."""
        if self.kind == "standing":
            return OwnerFate.UNKNOWN, "a standing stack stays until somebody stops it"
        return fate(ProcessPlace(self.boot, self.namespace, self.machine), self.pid, self.started)

    def told(self) -> dict[str, Any]:
        """Return the owner as a lease holds it."""
        return {key: value for key, value in asdict(self).items() if key != "engine" or value}


def leases_folder() -> Path:
    """Return the folder of this user's leases."""
    return Path(user_state_path("metta-sandbox")) / "leases"


@contextmanager
def lease(
    owner: Owner, folder: Path | None = None, *, keep: Callable[[], bool] = lambda: False
) -> Iterator[Owner]:
    """Hold a run's lease as long as the block lasts.

    Args:
        owner: The run.
        folder: Where the leases are.
        keep: Says at the end whether something of the run could not be removed; then its lease
            stays for whoever comes next.

    Raises:
        MachineError: Nothing can be written there.
        BlockingIOError: A live process holds a lease of the same run, or is removing what a dead
            one left behind.

    """
    folder = own_folder(folder or leases_folder())
    path = folder / f"{owner.run}.json"
    with ExitStack() as held:
        with _alone(folder):
            file = held.enter_context(path.open("a+"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held.callback(_give_up, path, keep)
            file.truncate(0)
            file.write(json.dumps(owner.told()))
            file.flush()
        yield owner


def _give_up(path: Path, keep: Callable[[], bool]) -> None:
    if not keep():
        path.unlink(missing_ok=True)


def leased_engine(run: str, folder: Path | None = None) -> str:
    """Return what a run was played on, as its lease says; empty if that is not known."""
    try:
        return str(json.loads(((folder or leases_folder()) / f"{run}.json").read_text())["engine"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def leased(folder: Path | None = None) -> set[str]:
    """List the runs that have a lease, whoever holds it."""
    return {path.stem for path in (folder or leases_folder()).glob("*.json")}


def reap(remove: Callable[[str], None], folder: Path | None = None) -> list[str]:
    """Remove what belongs to runs whose owner is gone.

    Args:
        remove: Removes everything of a run, by its id. May be called again for the same run. One
            that it fails on keeps its lease, and does not keep the others from being removed.
        folder: Where the leases are.

    Returns:
        The ids of those runs.

    Raises:
        MachineError: Nothing can be written there.
        Exception: The first that ``remove`` raised, once all were tried.

    """
    folder = own_folder(folder or leases_folder())
    reaped = []
    failed: Exception | None = None
    with ExitStack() as held:
        with _alone(folder):
            orphans = [path for path in sorted(folder.glob("*.json")) if _is_orphan(path, held)]
        for path in orphans:
            try:
                remove(path.stem)
            except Exception as error:  # noqa: BLE001 - raised below
                failed = failed or error
                continue
            path.unlink(missing_ok=True)
            reaped.append(path.stem)
    if failed is not None:
        raise failed
    return reaped


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, for the moment that one needs to make or judge leases."""
    with (folder / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_orphan(path: Path, held: ExitStack) -> bool:
    """Tell whether a lease has lost its owner. If so, it is locked for as long as ``held`` is."""
    with ExitStack() as mine:
        try:
            file = mine.enter_context(path.open("r+"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (FileNotFoundError, BlockingIOError):
            return False
        # Its owner may have ended, and removed it, between the two.
        if not path.exists() or _kind(file) == "standing":
            return False
        held.push(mine.pop_all())
    return True


def _kind(file: IO[str]) -> str:
    try:
        return str(json.loads(file.read())["kind"])
    except (ValueError, LookupError, TypeError):
        # The owner died, or the machine lost its power, between making the file and writing it.
        return "run"
