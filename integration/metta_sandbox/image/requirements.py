"""A requirements file, read so that each requirement knows its line.

See https://pip.pypa.io/en/stable/reference/requirements-file-format/. Where packages come from is
the business of pip's own configuration, which nodes never see, so options for that are refused.
No message quotes the file: whatever a scenario names may be read, a file of passwords, too.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from metta_sandbox.errors import InputError, Problem
from metta_sandbox.image.node_platform import NodePlatform
from metta_sandbox.image.wheel_metadata import applicable
from metta_sandbox.scenario.files import open_file
from metta_sandbox.scenario.keys import WAY_OUT, holds_keys

_MOST_FILES = 8
#: Bytes. Those that pip-compile writes for hundreds of packages have a tenth of it.
_LARGEST_FILE = 1024 * 1024
_COMMENT = re.compile(r"(^|\s)#.*$")
_INCLUDE = re.compile(r"(?:-r|--requirement)[ =]?\s*(\S+)")


@dataclass(frozen=True)
class RequiredPackage:
    """One requirement, and where it was said.

    Args:
        text: As pip writes it (PEP 508).
        file: A requirements file, or a scenario file.
        line: Its line, from 1.
        column: Where it begins there, from 1.

    """

    text: str
    file: Path
    line: int
    column: int = 1

    @property
    def name(self) -> str:
        """The package's name, normalised."""
        return canonicalize_name(Requirement(self.text).name)


def read_requirements(path: Path) -> tuple[RequiredPackage, ...]:
    """Read a requirements file and those it includes with ``-r``.

    Raises:
        InputError: Lines are no requirements, or can't be honoured here; all are listed.

    """
    problems: list[Problem] = []
    found = tuple(_read(path, (path,), problems))
    if problems:
        raise InputError(_count(problems), problems=tuple(problems))
    return found


def on_node(
    required: tuple[RequiredPackage, ...], platform: NodePlatform
) -> Mapping[str, RequiredPackage]:
    """Give the requirements that apply on a node, without markers, each with where it was said."""
    told: dict[str, RequiredPackage] = {}
    for each in required:
        for text in applicable([each.text], platform):
            told[text] = each
    return told


def _read(
    path: Path, trail: tuple[Path, ...], problems: list[Problem]
) -> Iterator[RequiredPackage]:
    try:
        with open_file(path) as file:
            content = file.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            raise OSError(errno.EFBIG, f"larger than {_LARGEST_FILE // 1024} KiB")  # noqa: TRY301
        text = content.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        problems.append(Problem(path, 0, 0, f"can't be read: {reason}"))
        return
    for number, line in _joined(text):
        if include := _INCLUDE.fullmatch(line):
            named = path.parent / include[1]
            if named in trail or len(trail) == _MOST_FILES:
                problems.append(Problem(path, number, 1, "files include each other"))
            elif holds_keys(named):
                problems.append(Problem(path, number, 1, f"includes what may hold keys; {WAY_OUT}"))
            elif not named.is_file():
                problems.append(Problem(path, number, 1, "includes a file that can't be read"))
            else:
                yield from _read(named, (*trail, named), problems)
        elif message := _misfit(line):
            problems.append(Problem(path, number, 1, message))
        else:
            yield RequiredPackage(line, path, number)


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """Join lines that end in a backslash, and leave out comments and empty ones."""
    began, kept = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        began = began or number
        if line.endswith("\\"):
            kept += f"{line[:-1]} "
            continue
        if whole := _COMMENT.sub("", f"{kept}{line}").strip():
            yield began, whole
        began, kept = 0, ""
    if kept.strip():
        yield began, kept.strip()


def _misfit(line: str) -> str:
    if line.startswith(("-e", "--editable", ".", "/", "file:")):
        return "a package of yours goes into workload.folder, not among requirements"
    if line.startswith("-"):
        return "an option; say it to pip itself: pip config set global.…, or PIP_…"
    if "--hash" in line:
        return "hashes can't be checked here; leave them out: pip-compile --no-generate-hashes"
    try:
        Requirement(line)
    except InvalidRequirement:
        return "expected a requirement such as einops>=0.8"
    return ""


def _count(problems: list[Problem]) -> str:
    return "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
