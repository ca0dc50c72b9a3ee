"""The folders that runs leave: ``artifacts/<run>/`` and the link ``artifacts/latest``."""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path

from metta_sandbox.errors import MachineError

LATEST = "latest"
_RESERVED = ".reserved"
_RESERVED_BYTES = 256 * 1024


def run_id(now: datetime | None = None) -> str:
    """Name a run so that names sort by time (UTC): ``20261122T183512-ab12``."""
    now = datetime.now(timezone.utc) if now is None else now.astimezone(timezone.utc)
    return f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"


def create_run_folder(root: Path, *, name: Callable[[], str] = run_id) -> Path:
    """Make a new run's folder below ``root``, and let ``latest`` point at it.

    Where links can't be made (some shared folders), there is no ``latest``.

    Raises:
        MachineError: Nothing can be written there.

    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        while True:
            folder = root / name()
            try:
                folder.mkdir()
                break
            except FileExistsError:  # another run began in this second, with the same four digits
                continue
    except OSError as error:
        raise unwritable(root, error) from error
    _point_latest_at(folder)
    return folder


def unwritable(folder: Path, error: OSError) -> MachineError:
    """Say that artifacts can't be written, and why."""
    return MachineError(
        f"artifacts cannot be written to {folder}: {error.strerror}",
        "make room there, or choose another folder with --artifacts",
    )


def reserve(run: Path) -> None:
    """Set room aside, so that results can be written to a disk that fills up meanwhile."""
    (run / _RESERVED).write_bytes(bytes(_RESERVED_BYTES))


def release(run: Path) -> None:
    """Give up the room that was set aside."""
    (run / _RESERVED).unlink(missing_ok=True)


def create_scenario_folder(run: Path, scenario: str) -> Path:
    """Make the folder of one scenario in a run's, under its name, or name-2 and so on if taken."""
    number = 1
    while True:
        folder = run / (scenario if number == 1 else f"{scenario}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
            continue
        return folder


def scenario_folders(run: Path, scenarios: Sequence[str]) -> list[Path]:
    """Give the folders that ``create_scenario_folder`` made for scenarios, in the same order."""
    seen: Counter[str] = Counter()
    folders = []
    for name in scenarios:
        seen[name] += 1
        folders.append(run / (name if seen[name] == 1 else f"{name}-{seen[name]}"))
    return folders


def _point_latest_at(folder: Path) -> None:
    latest = folder.parent / LATEST
    if latest.exists() and not latest.is_symlink():
        return  # somebody's own file or folder
    link = folder.parent / f".{LATEST}.{folder.name}"
    try:
        link.symlink_to(folder.name, target_is_directory=True)
        os.replace(link, latest)  # noqa: PTH105 - Path.replace follows nothing either, but says less
    except OSError:
        link.unlink(missing_ok=True)
