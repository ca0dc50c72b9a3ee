"""What stays of what nodes wrote: plain files and folders, within bounds.

What nodes share lies in the artifacts. A link there would lead whoever uploads them to files of
this machine, and a pipe would keep them waiting. So, once nodes have ended, all but plain files is
removed, and so is what is too much; what that was is told.
"""

from __future__ import annotations

import os
import posixpath
import re
import secrets
import shutil
import stat
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from metta_sandbox import beneath, removing
from metta_sandbox.report.results import LeftOut, LeftOutFile
from metta_sandbox.safe_text import for_terminal
from metta_sandbox.scenario.artifacts import Artifacts
from metta_sandbox.scenario.units import format_size

#: What the artifacts call what nodes share.
_SHARED = "shared"
#: What is moved out of the nodes' shared folder, into the scenario's own.
MOVED = ("trials", "wandb")
#: What the sandbox itself keeps there. It has room before all else has.
_OURS = re.compile(
    r"trials/[^/]+/(trial\.json|overrides\.json|checkpoint\.pt|[a-z]+-\d+\.(log|digest|json))"
    r"|wandb/[^/]+/run-[^/]+\.wandb|observations\.jsonl|scenario\.yaml"
)
#: W&B's own link, in each of its runs, to a log of its service in a node's home. Nobody misses it.
_UNTOLD = re.compile(r"(?:.*/)?wandb/[^/]+/logs/debug-core\.log")
#: Of so many it is remembered which they were.
_MOST_TOLD = 1000


@dataclass(frozen=True)
class _File:
    path: PurePath
    size: int
    inode: tuple[int, int]
    names: int

    @property
    def order(self) -> tuple[bool, int, str]:
        """What comes first is kept first: large files don't take the place of small ones."""
        path = str(self.path)
        return not _OURS.fullmatch(path), self.size, path


class _Collector:
    """Goes through a folder, and removes from it what is not kept.

    Args:
        root: The folder.
        limits: How much of it is kept.
        called: What the artifacts call it.

    """

    def __init__(self, root: int, limits: Artifacts, called: str) -> None:
        self._root = root
        self._called = called
        self._limits = limits
        self._files: list[_File] = []
        self._folders: set[str] = set()
        self._kept: dict[str, int] = {}
        #: How many bytes and files more there is room for.
        self._size, self._number = limits.size, limits.files
        self._links: dict[PurePath, str] = {}
        # So many names are looked at: of what is moved, and of all else.
        self._names = {True: 2 * limits.files, False: 2 * limits.files}
        self._left_out: list[LeftOutFile] = []
        self._count = 0

    def look(self) -> None:
        """Find all files, and remove what is neither one nor a folder, or is past all bounds."""
        first: deque[PurePath] = deque()
        then = deque([PurePath()])
        while first or then:
            for found in self._look_into((first or then).popleft()):
                (first if _is_moved(found) else then).append(found)

    def cut(self) -> None:
        """Remove the files that are too much, and those that are also somebody else's."""
        names = Counter(one.inode for one in self._files)
        for one in sorted(self._files, key=lambda each: each.order):
            if names[one.inode] < one.names:
                why = "a hard link to a file elsewhere"
            elif one.size > self._size:
                why = f"too large: artifacts.size is {format_size(self._limits.size)}"
            elif not self._number:
                why = f"too many: artifacts.files is {self._limits.files}"
            else:
                self._size, self._number = self._size - one.size, self._number - 1
                self._kept[str(one.path)] = one.size
                if one.names > 1:
                    self._try(one.path, _copy, self._root, one.path, one.path)
                continue
            if self._try(one.path, beneath.unlink, self._root, one.path):
                self._leave_out(one.path, why)

    def replace_links(self, places: Sequence[str]) -> None:
        """Put copies in the place of links to files that are kept.

        Args:
            places: What nodes and this machine call the folder, where links hold whole paths.

        """
        for path, target in self._links.items():
            found = _inside(path, target, places)
            size = self._kept.get(found, 0)
            if found in self._kept and size <= self._size and self._number:
                self._size, self._number = self._size - size, self._number - 1
                self._try(path, _copy, self._root, PurePath(found), path)
            elif not (found in self._folders or _UNTOLD.fullmatch(str(path))):
                # Folders are there under their own names.
                self._leave_out(path, "a symbolic link")

    def result(self) -> LeftOut:
        """Say what is no longer there."""
        return LeftOut(count=self._count, files=tuple(self._left_out))

    def _look_into(self, at: PurePath) -> list[PurePath]:
        try:
            folder = beneath.open_folder(self._root, at)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except PermissionError as error:
            self._leave_out(at, f"still there: {error.strerror}")
            return []
        try:
            with os.scandir(folder) as entries:
                paths = (at / entry.name for entry in entries)
                return [path for path in paths if self._try(path, self._sort, folder, path)]
        finally:
            os.close(folder)

    def _sort(self, folder: int, path: PurePath) -> bool:
        """Take note of what stands at a path, or remove it; tell whether to look into it."""
        found = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
        mode = found.st_mode
        if why := self._misfit(path, found):
            removing.discard(folder, path.name)
            self._leave_out(path, why)
        elif stat.S_ISLNK(mode):
            self._links[path] = os.readlink(path.name, dir_fd=folder)
            removing.discard(folder, path.name)
        elif stat.S_ISDIR(mode):
            removing.unlock(folder, path.name, found)
            self._folders.add(str(path))
            return True
        else:
            inode = (found.st_dev, found.st_ino)
            self._files.append(_File(path, found.st_size, inode, found.st_nlink))
        return False

    def _misfit(self, path: PurePath, found: os.stat_result) -> str:
        """Say why something can't stay, whatever else there is; empty if it may."""
        is_moved = _is_moved(path)
        self._names[is_moved] -= 1
        if self._names[is_moved] < 0:
            return f"too many: artifacts.files is {self._limits.files}"
        if not _is_text(path.name):
            return "its name is no text"
        if stat.S_ISDIR(found.st_mode):
            return "too deep" if len(path.parts) >= beneath.DEEPEST else ""
        if stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode):
            return ""
        return beneath.kind_of(found)

    def _try(self, path: PurePath, do: Callable[..., bool | None], *args: Any) -> bool:
        """Do something; tell whether it was done and did not say no."""
        try:
            return do(*args) is not False
        except FileNotFoundError:
            pass
        except OSError as error:
            self._leave_out(path, f"still there: {error.strerror}")
        return False

    def _leave_out(self, path: PurePath, why: str) -> None:
        self._count += 1
        if len(self._left_out) < _MOST_TOLD:
            moved = self._called == _SHARED and _is_moved(path)
            place = path if moved else PurePath(self._called, path)
            self._left_out.append(
                LeftOutFile(file=for_terminal(str(place)).replace("\n", r"\n"), why=why)
            )


def keep_within(
    folder: Path, limits: Artifacts, places: Sequence[str] = (), called: str = _SHARED
) -> LeftOut:
    """Remove from a folder all but plain files and folders, and of these what is too much.

    Args:
        folder: What nodes wrote to, or had written. None of them is at work any more.
        limits: How much of it is kept.
        places: What nodes call it.
        called: What the artifacts call it.

    Returns:
        What is no longer there.

    Raises:
        OSError: The folder itself can't be opened, or is a link.

    """
    with removing.opened(folder) as root:
        collector = _Collector(root, limits, called)
        collector.look()
        collector.cut()
        collector.replace_links((*places, str(folder)))
        return collector.result()


def _copy(root: int, path: PurePath, target: PurePath) -> None:
    """Copy a file within a folder, to where one may be that is replaced then."""
    with beneath.parent_of(root, path) as (folder, name):
        source = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW, dir_fd=folder)
    with os.fdopen(source, "rb") as old, beneath.parent_of(root, target) as (folder, name):
        part = f".copied-{secrets.token_hex(8)}"
        made = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder)
        with os.fdopen(made, "wb") as new:
            shutil.copyfileobj(old, new, 1 << 20)
            seen = os.fstat(source)
            os.fchmod(made, stat.S_IMODE(seen.st_mode))
            if os.geteuid() == 0:
                os.fchown(made, seen.st_uid, seen.st_gid)
        os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)


def _inside(link: PurePath, target: str, places: Sequence[str]) -> str:
    """Follow a link by its words alone, to a path from the folder if it leads to one."""
    for place in places:
        if target.startswith(f"{place}/"):
            return posixpath.relpath(target, place)
    return posixpath.normpath(posixpath.join(link.parent, target))


def _is_moved(path: PurePath) -> bool:
    return path.parts[0] in MOVED


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
