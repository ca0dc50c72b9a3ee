"""Files in folders that others write to, opened without being led out of them.

What nodes write to may hold a link in a file's place, a pipe that keeps its reader waiting, another
name of somebody else's file, or a file without an end. So each folder on the way to a file is
opened by itself, from the one before it, and no link is followed. Only plain files are opened, and
only so much of them is read.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import BinaryIO, TypeAlias

#: A folder that its writers can't replace: a path, or what it was opened as.
Root: TypeAlias = Path | int

#: Bytes that are read of a file at most, unless a reader says otherwise.
MOST = 1 << 26
_BUFFER = 1 << 16
#: Folders within each other, and names in them, that a search goes through at most.
DEEPEST = 64
_NAMES = 1_000_000
_PLAIN = os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | _PLAIN
#: Without waiting for whoever is at the other end of a pipe, or becoming a terminal's process.
_FILE = os.O_NONBLOCK | os.O_NOCTTY | _PLAIN
#: What stands at a path, by the type of its mode.
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class RefusedPathError(OSError):
    """What stands at a path is not opened; ``strerror`` says what it is."""


def kind_of(found: os.stat_result) -> str:
    """Say what kind of thing stands at a path; empty for a plain file.

    A file with several names may be somebody else's: who can't read it can still give it a name in
    a folder of theirs, on the same file system.
    """
    if stat.S_ISREG(found.st_mode):
        return "a file with several names" if found.st_nlink > 1 else ""
    return _KINDS.get(stat.S_IFMT(found.st_mode), "no file")


def open_file(root: Root, path: PurePath, *, most: int | None = MOST) -> BinaryIO:
    """Open a plain file beneath a folder for reading.

    Args:
        root: Where nothing may lead out of.
        path: The file's, beneath that; or from there.
        most: The most bytes that it may have; None for any number.

    Raises:
        RefusedPathError: It is a link, no plain file or too large, or its path leads elsewhere.
        OSError: It is not there, or can't be read.

    """
    file = os.fdopen(_opened(root, path, os.O_RDONLY), "rb", _BUFFER)
    if most is not None and (size := os.fstat(file.fileno()).st_size) > most:
        file.close()
        raise RefusedPathError(
            errno.EFBIG, f"of {size} bytes, of which at most {most} are read", str(path)
        )
    return file


def read_bytes(root: Root, path: PurePath, *, most: int = MOST) -> bytes:
    """Read a plain file beneath a folder. See ``open_file``."""
    with open_file(root, path, most=most) as file:
        # One that grows meanwhile is cut.
        return file.read(most)


def read_end(root: Root, path: PurePath, most: int) -> bytes:
    """Read the last bytes of a plain file beneath a folder. See ``open_file``."""
    with open_file(root, path, most=None) as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - most))
        return file.read(most)


def overwrite(root: Root, path: PurePath, content: bytes) -> None:
    """Write a plain file beneath a folder anew, which must be there. See ``open_file``."""
    with os.fdopen(_opened(root, path, os.O_WRONLY), "wb") as file:
        file.truncate()
        file.write(content)


def append(root: Root, path: PurePath, content: bytes) -> None:
    """Write to the end of a plain file beneath a folder, which is made if it is not there."""
    try:
        opened = _opened(root, path, os.O_WRONLY | os.O_APPEND)
    except FileNotFoundError:
        create(root, path, content)
        return
    with os.fdopen(opened, "ab") as file:
        file.write(content)


def replace(root: Root, path: PurePath, content: bytes) -> None:
    """Put a new file in the place of one beneath a folder, or of a link."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    create(root, part, content)
    with parent_of(root, path) as (folder, name):
        os.rename(part.name, name, src_dir_fd=folder, dst_dir_fd=folder)


def create(root: Root, path: PurePath, content: bytes = b"") -> None:
    """Make a file beneath a folder.

    Raises:
        FileExistsError: Something is there, a link included.
        OSError: It can't be made.

    """
    with parent_of(root, path) as (folder, name):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _PLAIN
        with os.fdopen(os.open(name, flags, 0o644, dir_fd=folder), "wb") as file:
            file.write(content)


def open_folder(root: Root, path: PurePath) -> int:
    """Open a folder beneath another, or that itself; the caller closes it. See ``open_file``."""
    if not path.parts:
        return _open_root(root)
    with parent_of(root, path) as (folder, name):
        return os.open(name, _FOLDER, dir_fd=folder)


def unlink(root: Root, path: PurePath) -> None:
    """Remove what is no folder beneath a folder; that it is not there is no error."""
    with suppress(FileNotFoundError), parent_of(root, path) as (folder, name):
        os.unlink(name, dir_fd=folder)


def size_of(root: Root, path: PurePath) -> int | None:
    """Give the bytes of a plain file beneath a folder; None if there is none."""
    try:
        with parent_of(root, path) as (folder, name):
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return None
    return None if kind_of(found) else found.st_size


def find(root: Path, pattern: str, within: PurePath | None = None) -> list[Path]:
    """Find what is no folder beneath a folder by its path; what it is shows when it is opened.

    Args:
        root: Where nothing may lead out of.
        pattern: A path, in which ``*``, ``?`` and ``[…]`` stand for letters of a name, and ``**``
            for any number of folders.
        within: Where that path is from: a folder beneath, or the root. In one that is not there
            nothing is found.

    Raises:
        RefusedPathError: There is too much to search.

    """
    names = _Count()
    try:
        start = PurePath() if within in {None, root} else PurePath(*_parts(root, within))
        folder = open_folder(root, start)
    except OSError:
        return []
    parts = [part for part in pattern.split("/") if part not in {"", "."}]
    return sorted({root / each for each in _found(folder, start, parts, names)})


class _Count:
    """Counts the names that a search has come by."""

    def __init__(self) -> None:
        self.left = _NAMES


def _found(folder: int, at: PurePath, parts: list[str], names: _Count) -> Iterator[PurePath]:
    """Search an open folder, which is closed at the end."""
    part, rest = parts[0], parts[1:]
    try:
        if part == "**":
            yield from _found(os.dup(folder), at, rest, names)
        with os.scandir(folder) as entries:
            for entry in entries:
                names.left -= 1
                if names.left < 0:
                    raise RefusedPathError(
                        errno.E2BIG, f"more than {_NAMES} names to search", str(at)
                    )
                is_folder = entry.is_dir(follow_symlinks=False)
                below = parts if part == "**" else rest
                if part != "**" and not fnmatchcase(entry.name, part):
                    continue
                if not below and not is_folder:
                    yield at / entry.name
                elif below and is_folder and len(at.parts) < DEEPEST:
                    with suppress(PermissionError, FileNotFoundError, NotADirectoryError):
                        inner = os.open(entry.name, _FOLDER, dir_fd=folder)
                        yield from _found(inner, at / entry.name, below, names)
    finally:
        os.close(folder)


def _opened(root: Root, path: PurePath, flags: int) -> int:
    try:
        with parent_of(root, path) as (folder, name):
            opened = os.open(name, flags | _FILE, dir_fd=folder)
    except OSError as error:
        # What a link and a socket are refused with.
        if error.errno in {errno.ELOOP, errno.EMLINK, errno.ENXIO}:
            kind = "a symbolic link" if error.errno != errno.ENXIO else "no plain file"
            raise RefusedPathError(error.errno, kind, str(path)) from None
        raise
    if kind := kind_of(os.fstat(opened)):
        os.close(opened)
        raise RefusedPathError(errno.EINVAL, kind, str(path))
    return opened


@contextmanager
def parent_of(root: Root, path: PurePath) -> Iterator[tuple[int, str]]:
    """Open the folder that a path beneath another is in; give it, and the path's last name.

    Raises:
        RefusedPathError: The path leads out of the folder.
        OSError: There is no such folder, or a link on the way.

    """
    *folders, name = _parts(root, path)
    folder = _open_root(root)
    try:
        for each in folders:
            inner = os.open(each, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder, name
    finally:
        os.close(folder)


def _parts(root: Root, path: PurePath) -> tuple[str, ...]:
    inside = not path.is_absolute()
    if isinstance(root, Path) and path.is_relative_to(root):
        path, inside = path.relative_to(root), True
    if not inside or not path.parts or ".." in path.parts or not _can_be(path):
        raise RefusedPathError(errno.EXDEV, "not beneath its folder", str(path))
    return path.parts


def _can_be(path: PurePath) -> bool:
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def _open_root(root: Root) -> int:
    if isinstance(root, int):
        return os.dup(root)
    return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
