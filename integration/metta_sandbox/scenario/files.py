"""Scenario files on disk: which there are, and their text."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from metta_sandbox.errors import InputError, Problem

#: Bytes. Scenarios are a page long; parsing is slow enough that more is surely a mistake.
LARGEST_FILE = 256 * 1024
SUFFIXES = (".yaml", ".yml")
#: How names begin of what is there to be extended only.
_EXTENDED = ("_", ".")
#: Files and folders below one that is searched for scenarios; more are no repository's.
_MOST_ENTRIES = 100_000
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def find_own(folder: Path) -> list[Path]:
    """List a folder's own scenario files, but none below: those are played when they are named.

    A folder without any stands for itself, so that ``find`` says what is missing.
    """
    own = sorted(
        file
        for file in folder.glob("*")
        if file.suffix in SUFFIXES and not file.name.startswith(_EXTENDED)
    )
    return own or [folder]


def find(paths: Iterable[Path]) -> list[Path]:
    """List the scenario files among paths: files as given, folders with all below them, sorted.

    In folders, names that begin with ``_`` or ``.`` are passed over: they are there to be extended.

    Raises:
        InputError: A path doesn't exist, isn't YAML by its name, or a folder holds no scenario, or
            far too much to be searched.

    """
    found: list[Path] = []
    wrong: list[str] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in _below(path) if file.suffix in SUFFIXES)
            found.extend(inside)
            if not inside:
                wrong.append(f"{path}: no scenario files (*.yaml, *.yml) in this folder")
        elif not path.exists():
            wrong.append(f"{path}: no such file or folder")
        elif path.suffix not in SUFFIXES:
            wrong.append(f"{path}: expected a name that ends in .yaml or .yml")
        else:
            found.append(path)
    if wrong:
        raise InputError("\n".join(wrong), "name scenario files, or folders that hold some")
    return list(dict.fromkeys(found))


def read_text(path: Path) -> str:
    """Read a scenario file's text.

    Raises:
        InputError: It can't be opened, is too large, or is not UTF-8.

    """
    try:
        with open_file(path) as file:
            content = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:  # a path with a zero byte is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: {reason}", "is the path right?") from error
    if len(content) > LARGEST_FILE:
        message = f"larger than {LARGEST_FILE // 1024} KiB; is this a scenario?"
        raise _refusal(Problem(path, 1, 1, message))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        message = f"not UTF-8: byte 0x{content[error.start]:02x}; save the file as UTF-8"
        raise _refusal(Problem(path, line, column, message)) from error


def open_file(path: Path) -> BinaryIO:
    """Open a file of the user's: a pipe would keep its reader waiting, a device might never end.

    Raises:
        OSError: It can't be opened, or is no file.
        ValueError: The path can be none.

    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind != stat.S_IFREG:
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"{_KINDS.get(kind, 'something else')}, not a file")
    return os.fdopen(descriptor, "rb")


def _below(folder: Path) -> Iterator[Path]:
    """List the files in a folder and below it, but for those that are there to be extended.

    Raises:
        InputError: There are far too many.

    """
    entries = 0
    for root, folders, files in os.walk(folder):
        entries += len(folders) + len(files)
        if entries > _MOST_ENTRIES:
            message = f"{folder}: more than {_MOST_ENTRIES} files and folders, no repository"
            raise InputError(message, "name scenario files, or the folders that hold some")
        folders[:] = [name for name in folders if not name.startswith(_EXTENDED)]
        yield from (Path(root, name) for name in files if not name.startswith(_EXTENDED))


def _refusal(problem: Problem) -> InputError:
    return InputError("1 problem", problems=(problem,))
