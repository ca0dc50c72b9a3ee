"""What is kept on the host between runs, in the user's own cache folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from metta_sandbox.homes import own_folder
from metta_sandbox.progress import Progress


def cache_folder(*parts: str) -> Path:
    """Return a folder of the user's cache, made if need be.

    Raises:
        MachineError: Nothing can be written there.

    """
    return own_folder(user_cache_path("metta-sandbox").joinpath(*parts))


@contextmanager
def locked(path: Path, progress: Progress, waiting: str) -> Iterator[None]:
    """Hold a lock on ``path`` for one run at a time; say ``waiting`` if another has it."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress(waiting)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
