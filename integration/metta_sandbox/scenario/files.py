"""Scenario files on disk: which there are, and their text."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from metta_sandbox.errors import InputError, Problem

#: Bytes. Scenarios are a page long; parsing is slow enough that more is surely a mistake.
LARGEST_FILE = 256 * 1024
SUFFIXES = (".yaml", ".yml")


def find_own(folder: Path) -> list[Path]:
    """List a folder's own scenario files, but none below: those are played when they are named.

    A folder without any stands for itself, so that ``find`` says what is missing.
    """
    own = sorted(file for file in folder.glob("*") if _is_played(file, folder))
    return own or [folder]


def find(paths: Iterable[Path]) -> list[Path]:
    """List the scenario files among paths: files as given, folders with all below them, sorted.

    In folders, names that begin with ``_`` or ``.`` are passed over: they are there to be extended.

    Raises:
        InputError: A path doesn't exist, isn't YAML by its name, or a folder holds no scenario.

    """
    found: list[Path] = []
    wrong: list[str] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if _is_played(file, path))
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
        with path.open("rb") as file:
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


def _is_played(file: Path, folder: Path) -> bool:
    inside = file.relative_to(folder).parts
    return file.suffix in SUFFIXES and not any(part.startswith(("_", ".")) for part in inside)


def _refusal(problem: Problem) -> InputError:
    return InputError("1 problem", problems=(problem,))
