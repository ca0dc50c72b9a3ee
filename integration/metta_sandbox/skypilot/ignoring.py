"""What of a working folder is not synced: as rsync reads ``.skyignore``, or else ``.gitignore``."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from metta_sandbox.errors import InputError
from metta_sandbox.scenario.files import LARGEST_FILE, open_file

_SKY, _GIT = ".skyignore", ".gitignore"


#: Any letter, and any letter of a name.
_ANY, _NAME = re.compile(".", re.DOTALL), re.compile("[^/]")
#: What a pattern is made of: all else of it stands for itself.
_PARTS = re.compile(r"\*\*/|\*\*|\*|\?|\[[^]]+\]|.", re.DOTALL)


@dataclass(frozen=True)
class _Step:
    """What a pattern takes a letter by.

    Args:
        takes: The letters.
        repeats: Whether it takes any number of them.
        over: How many steps can be passed over from here without a letter.

    """

    takes: re.Pattern[str]
    repeats: bool = False
    over: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Pattern:
    """A pattern of rsync's: ``*`` stops at a slash, ``**`` does not.

    All ways to match are followed at once. ``re`` follows one after another, and over some names
    that takes longer than anybody lives.
    """

    steps: tuple[_Step, ...]

    @classmethod
    def of(cls, text: str) -> _Pattern:
        return cls(tuple(step for part in _PARTS.findall(text) for step in _steps(part)))

    def fits(self, text: str) -> bool:
        """Tell whether it matches the whole of a text."""
        reached = self._with_those_ahead({0})
        for letter in text:
            places = [(at, self.steps[at]) for at in reached if at < len(self.steps)]
            reached = self._with_those_ahead(
                {at if one.repeats else at + 1 for at, one in places if one.takes.match(letter)}
            )
            if not reached:
                return False
        return len(self.steps) in reached

    def _with_those_ahead(self, reached: set[int]) -> set[int]:
        ahead = [*reached]
        while ahead:
            at = ahead.pop()
            over = self.steps[at].over if at < len(self.steps) else ()
            new = {at + count for count in over} - reached
            reached |= new
            ahead += new
        return reached


@dataclass(frozen=True)
class _Rule:
    """One line: what it matches, below which folder, and whether folders alone."""

    pattern: _Pattern
    folder: PurePosixPath
    whole: bool
    folders_only: bool

    def matches(self, path: PurePosixPath, *, is_folder: bool) -> bool:
        if self.folders_only and not is_folder:
            return False
        try:
            below = path.relative_to(self.folder)
        except ValueError:
            return False
        text = str(below) if self.whole else below.name
        return self.pattern.fits(text)


def ignoring(root: Path) -> Callable[[str, list[str]], set[str]]:
    """Make what ``shutil.copytree`` asks, of a folder's names, which stay behind.

    Rules of a folder hold in it and below, as rsync's ``dir-merge`` filter says.

    Raises:
        InputError: As it is asked: what holds rules can't be read, is no file, or is far too large.

    """
    root = root.resolve()
    name = _SKY if (root / _SKY).exists() else _GIT
    rules: dict[PurePosixPath, list[_Rule]] = {}

    def ignore(folder: str, names: list[str]) -> set[str]:
        here = PurePosixPath(Path(folder).resolve().relative_to(root).as_posix())
        above = rules.get(here.parent, []) if here.parts else []
        rules[here] = [*above, *_rules(root / here / name, here)]
        if not here.parts and name == _GIT:
            rules[here] += _rules(root / ".git" / "info" / "exclude", here)
        return {
            each
            for each in names
            if any(
                rule.matches(here / each, is_folder=(Path(folder) / each).is_dir())
                for rule in rules[here]
            )
        }

    return ignore


def _rules(file: Path, folder: PurePosixPath) -> list[_Rule]:
    found = []
    for line in _text(file).splitlines():
        text = line.strip()
        # What git takes back with an exclamation mark, rsync knows nothing of.
        if not text or text.startswith(("#", "!")):
            continue
        folders_only = text.endswith("/")
        text = text.rstrip("/")
        whole = "/" in text
        if whole and not text.startswith("/"):
            text = f"**/{text}" if not text.startswith("**/") else text
        found.append(_Rule(_Pattern.of(text.lstrip("/")), folder, whole, folders_only))
    return found


def _text(file: Path) -> str:
    """Read a file of rules; one that is not there has none."""
    try:
        with open_file(file) as opened:
            content = opened.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise InputError(
            f"{file}: {error.strerror}", "is it a list of what stays behind?"
        ) from None
    if len(content) > LARGEST_FILE:
        raise InputError(f"{file}: larger than {LARGEST_FILE // 1024} KiB")
    return content.decode("utf-8", errors="replace")


def _steps(part: str) -> tuple[_Step, ...]:
    """Translate a part of a pattern."""
    if part in {"*", "**"}:
        return (_Step(_ANY if part == "**" else _NAME, repeats=True, over=(1,)),)
    if part == "**/":
        # No folder, or any number of them.
        return (_Step(_ANY, repeats=True, over=(1, 2)), _Step(re.compile("/")))
    if part == "?":
        return (_Step(_NAME),)
    if len(part) > 1:
        inside = part[1:-1]
        taken = f"[^{inside[1:]}]" if inside[0] == "!" else part
        with suppress(re.error):
            return (_Step(re.compile(taken)),)
    return tuple(_Step(re.compile(re.escape(letter))) for letter in part)
