"""What trials find in their working folder: all of them what setup left.

A fresh folder is the same folder: what a trial changed in it is moved aside, and copied anew from
what was kept after setup. So nothing is shared with an earlier trial, paths stay what they were,
and what a trial did not touch, be it gigabytes, costs no more than a look.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from metta_sandbox.errors import SandboxError

#: Where what setup left is kept, in the folder that nodes share.
KEPT = ".as-set-up"
#: Where is kept there what each trial but the last has left, by its run's name.
LEFT = "workspaces"
#: Tells a rollout that its working folder is a copy, which may be made anew.
FRESH = "METTA_FRESH"
#: Made by imports, and nobody's work.
_CACHE = "__pycache__"
#: Linux's FICLONE, of <linux/fs.h>: a copy that shares blocks until one of both is written to.
_CLONE = 0x40049409

#: What changes with all that is done to a file but reading it: inode, size, mode, time of change.
_Print: TypeAlias = tuple[int, int, int, int]


class CopyError(SandboxError):
    """A working folder can't be copied, or a copy of it not be made anew."""


class Workplace:
    """A folder that every trial finds as setup left it.

    Args:
        folder: The folder, as setup left it, unless ``kept`` is there already.
        kept: Where a copy of that is, or is made.

    Raises:
        CopyError: It can't be copied.

    """

    def __init__(self, folder: Path, kept: Path) -> None:
        self._folder = folder
        self._kept = kept
        self._prints: dict[Path, _Print] = {}
        #: Whether it may be other than setup left it.
        self.used = kept.exists()
        if self.used:
            return
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(dir=kept.parent)) / kept.name
            _copy(folder, part)
            part.rename(kept)
            part.parent.rmdir()
            self._note(folder)
        except OSError as error:
            raise _failed(folder, error) from error

    def renew(self, left: Path) -> int:
        """Make the folder what it was after setup.

        Args:
            left: Where what was written since is moved to, under its own name.

        Returns:
            How many files and folders had to be moved.

        Raises:
            CopyError: One can't be moved or copied.

        """
        try:
            return self._renew(self._folder, self._kept, left)
        except OSError as error:
            raise _failed(self._folder, error) from error

    def _renew(self, folder: Path, kept: Path, left: Path) -> int:
        moved = 0
        for path in list(folder.iterdir()):
            before = kept / path.name
            if all(_is_folder(each) for each in (path, before)):
                moved += self._renew(path, before, left / path.name)
            elif self._prints.get(path) != _print_of(path):
                _move_aside(path, left / path.name)
                moved += 1
        for before in kept.iterdir():
            path = folder / before.name
            if not os.path.lexists(path):
                _copy(before, path)
                self._note(path)
        return moved

    def _note(self, path: Path) -> None:
        """Remember what files look like that were just copied."""
        if not _is_folder(path):
            self._prints[path] = _print_of(path)
            return
        for each in path.iterdir():
            self._note(each)


def _failed(folder: Path, error: OSError) -> CopyError:
    return CopyError(
        f"{folder} can't be made fresh for a trial: {error}",
        "workload.fresh: sweep leaves one folder to all trials",
    )


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _print_of(path: Path) -> _Print:
    found = path.lstat()
    return found.st_ino, found.st_size, found.st_mode, found.st_ctime_ns


def _move_aside(path: Path, target: Path) -> None:
    if path.name == _CACHE:
        shutil.rmtree(path, ignore_errors=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    path.rename(target)


def _copy(source: Path, target: Path) -> None:
    """Copy a file or folder: what a file system can share until it is written to, and else bytes.

    Sockets and pipes, which belong to processes, are left out.
    """
    if _is_folder(source):
        shutil.copytree(source, target, symlinks=True, copy_function=_copy_file)
    elif source.is_symlink():
        target.symlink_to(source.readlink())
    else:
        _copy_file(str(source), str(target))


def _copy_file(source: str, target: str) -> None:
    if not stat.S_ISREG(os.lstat(source).st_mode):
        return
    with Path(source).open("rb") as old, Path(target).open("xb") as new:
        try:
            fcntl.ioctl(new.fileno(), _CLONE, old.fileno())
        except OSError:
            shutil.copyfileobj(old, new, 1 << 20)
    with suppress(OSError):
        shutil.copystat(source, target)
