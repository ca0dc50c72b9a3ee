"""What of a working folder is not synced: as rsync reads ``.skyignore``, or else ``.gitignore``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_SKY, _GIT = ".skyignore", ".gitignore"


@dataclass(frozen=True)
class _Rule:
    """One line: what it matches, below which folder, and whether folders alone."""

    pattern: re.Pattern[str]
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
        return self.pattern.fullmatch(text) is not None


def ignoring(root: Path) -> Callable[[str, list[str]], set[str]]:
    """Make what ``shutil.copytree`` asks, of a folder's names, which stay behind.

    Rules of a folder hold in it and below, as rsync's ``dir-merge`` filter says.
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
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        text = line.strip()
        # What git takes back with an exclamation mark, rsync knows nothing of.
        if not text or text.startswith(("#", "!")):
            continue
        folders_only = text.endswith("/")
        text = text.rstrip("/")
        whole = "/" in text
        if whole and not text.startswith("/"):
            text = f"**/{text}" if not text.startswith("**/") else text
        found.append(_Rule(_pattern(text.lstrip("/")), folder, whole, folders_only))
    return found


def _pattern(text: str) -> re.Pattern[str]:
    """Translate a pattern of rsync's: ``*`` stops at a slash, ``**`` does not."""
    parts = []
    for part in re.split(r"(\*\*/|\*\*|\*|\?|\[[^]]*\])", text):
        if part == "**/":
            parts.append("(?:.*/)?")
        elif part == "**":
            parts.append(".*")
        elif part == "*":
            parts.append("[^/]*")
        elif part == "?":
            parts.append("[^/]")
        elif part.startswith("[") and len(part) > 2:  # noqa: PLR2004 - brackets with something in
            parts.append(f"[{part[1:-1].replace('!', '^', 1) if part[1] == '!' else part[1:-1]}]")
        else:
            parts.append(re.escape(part))
    try:
        return re.compile("".join(parts))
    except re.error:
        return re.compile(re.escape(text))
