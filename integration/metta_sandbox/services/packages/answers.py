"""What the harness answers to a stack's package index, and where it does.

A question is an event, ``package.asked``; its answer is a file of JSON in a folder that the index
sees read-only. Files of packages lie there, too.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

#: Where packages are listed, below the index's address.
ROOT = "/simple"
#: Names a file that is there as long as somebody answers.
ATTENDED = "attended"
#: The folder in which files of packages lie.
FILES = "files"
#: What packages, and their files, can be called: no path, and nothing that a shell or HTML acts on.
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,98}[a-z0-9])?")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,250}")
_QUESTION = re.compile(r"[0-9a-f]{16}")
#: Ends the name of a wheel's metadata, as indexes serve it by itself (PEP 658).
METADATA = ".metadata"


@dataclass(frozen=True)
class ListedFile:
    """A file that an index lists.

    Args:
        file: Its name.
        sha256: Its digest; empty where the index does not tell.
        requires_python: For which Pythons it is; empty for all.
        yanked: Why nobody is to take it any more; None if it was not taken back.
        has_metadata: Whether a wheel's metadata can be had by itself.

    """

    file: str
    sha256: str = ""
    requires_python: str = ""
    yanked: str | None = None
    has_metadata: bool = False


@dataclass(frozen=True)
class Answer:
    """What the harness answers.

    Args:
        lacks: Why it can't be had; empty if it can.
        listed: The files of a package.
        place: Where a file is, below the folder of answers.

    """

    lacks: str = ""
    listed: tuple[ListedFile, ...] = ()
    place: str = ""


def package_name(text: str) -> str:
    """Normalise a package's name, as indexes do (PEP 503).

    Raises:
        ValueError: It is none.

    """
    name = re.sub(r"[-_.]+", "-", text).lower()
    if not _NAME.fullmatch(name):
        raise ValueError("no package's name")
    return name


def is_file_name(text: str) -> bool:
    """Tell whether a file of a package can be called so."""
    return _FILE.fullmatch(text) is not None


def write_answer(folder: Path, question: str, answer: Answer) -> None:
    """Answer a question, whole or not at all.

    Raises:
        ValueError: It is no question.
        OSError: The folder is gone, or full.

    """
    if not _QUESTION.fullmatch(question):
        raise ValueError("no question")
    path = folder / f"{question}.json"
    part = path.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(asdict(answer)))
    part.chmod(0o644)
    part.replace(path)


def read_answer(folder: Path, question: str) -> Answer | None:
    """Read the answer to a question; None if there is none yet."""
    try:
        told: Mapping[str, Any] = json.loads((folder / f"{question}.json").read_text())
    except FileNotFoundError:
        return None
    listed = tuple(ListedFile(**each) for each in told["listed"])
    return Answer(told["lacks"], listed, told["place"])


def attended_since(folder: Path) -> int | None:
    """Tell since when somebody answers, in nanoseconds; None if nobody does."""
    try:
        return (folder / ATTENDED).stat().st_mtime_ns
    except OSError:
        return None


def attend(folder: Path) -> None:
    """Say that somebody answers from now on.

    Raises:
        OSError: The folder is gone.

    """
    (folder / FILES).mkdir(exist_ok=True)
    (folder / FILES).chmod(0o755)
    (folder / ATTENDED).touch()


def leave(folder: Path) -> None:
    """Say that nobody answers any more, and remove what was answered."""
    with suppress(OSError):
        for path in (*(folder / FILES).glob("*"), *(each for each in folder.glob("*.json"))):
            path.unlink(missing_ok=True)
        (folder / ATTENDED).unlink(missing_ok=True)
