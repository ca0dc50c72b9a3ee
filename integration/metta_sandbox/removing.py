"""Removes and moves what others wrote, whatever it is, without following a link."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

from metta_sandbox import beneath

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def opened(folder: Path) -> Iterator[int]:
    """Open a folder that is no link, for as long as it is needed."""
    root = os.open(folder, _FOLDER)
    try:
        yield root
    finally:
        os.close(root)


def remove(folder: Path, name: str) -> None:
    """Remove what has a name in a folder, following nothing; that it is not there is no error."""
    with suppress(FileNotFoundError), opened(folder) as root:
        discard(root, name)


def empty(folder: Path) -> None:
    """Remove all that is in a folder, following nothing; what can't be removed stays."""
    with opened(folder) as root, os.scandir(root) as entries:
        for entry in entries:
            with suppress(OSError):
                discard(root, entry.name)


def take(source: Path, target: Path) -> None:
    """Move a file or folder; to another file system, its plain files alone."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with opened(source.parent) as root:
            _copy(root, PurePath(source.name), target)
            discard(root, source.name)


def discard(folder: int, name: str) -> None:
    """Remove a file, or a folder with all that is in it, however deep."""
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISDIR(found.st_mode):
        os.unlink(name, dir_fd=folder)
        return
    unlock(folder, name, found)
    # Folders within it are moved beside it, one after another: none is reached through many.
    queue = deque([name])
    while queue:
        each = queue.popleft()
        inner = os.open(each, _FOLDER, dir_fd=folder)
        try:
            with os.scandir(inner) as entries:
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        os.unlink(entry.name, dir_fd=inner)
                        continue
                    unlock(inner, entry.name, entry.stat(follow_symlinks=False))
                    beside = f".removed-{secrets.token_hex(8)}"
                    os.rename(entry.name, beside, src_dir_fd=inner, dst_dir_fd=folder)
                    queue.append(beside)
        finally:
            os.close(inner)
        os.rmdir(each, dir_fd=folder)


def unlock(folder: int, name: str, found: os.stat_result) -> None:
    """Let the owner of a folder, if that is us, look into it and change it."""
    if found.st_mode & stat.S_IRWXU == stat.S_IRWXU or found.st_uid != os.geteuid():
        return
    if hasattr(os, "O_PATH"):
        locked = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
        try:
            Path(f"/proc/self/fd/{locked}").chmod(stat.S_IMODE(found.st_mode) | stat.S_IRWXU)
        finally:
            os.close(locked)


def _copy(root: int, path: PurePath, target: Path) -> None:
    """Copy a folder's plain files, or one."""
    with beneath.parent_of(root, path) as (folder, name):
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    if stat.S_ISREG(mode):
        with beneath.open_file(root, path, most=None) as source, target.open("xb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
    elif stat.S_ISDIR(mode):
        target.mkdir()
        inner = beneath.open_folder(root, path)
        try:
            with os.scandir(inner) as entries:
                names = [entry.name for entry in entries]
        finally:
            os.close(inner)
        for each in names:
            _copy(root, path / each, target / each)
