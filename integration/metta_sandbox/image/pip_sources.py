"""What the user's pip takes packages from, as far as it decides which ones come.

Read as pip reads it (https://pip.pypa.io/en/stable/topics/configuration/), without starting it:
what is named here is part of a wheelhouse's key, which each run looks up.
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement

#: The options that count.
_OPTIONS = (
    *("index-url", "extra-index-url", "no-index", "find-links", "constraint", "pre"),
    *("prefer-binary", "no-binary", "only-binary", "isolated"),
)
_Setting = tuple[str, str, str]


def sources(environ: Mapping[str, str] = os.environ) -> list[list[str]]:
    """List settings, what constraints files say, and what lies in folders of wheels; sorted."""
    told: set[tuple[str, ...]] = set()
    for where, option, value in _settings(environ):
        told.add((where, option, value))
        for word in value.split() if option in {"constraint", "find-links"} else ():
            told |= {(option, word, each) for each in _content(_local(word))}
    return sorted(map(list, told))


def own_constraints(environ: Mapping[str, str] = os.environ) -> list[Requirement]:
    """Read the user's own constraints; what can't be read is left to pip to complain of."""
    found: list[Requirement] = []
    for _, option, value in _settings(environ):
        for word in value.split() if option == "constraint" else ():
            try:
                lines = _local(word).read_text().splitlines()
            except (OSError, UnicodeDecodeError):
                continue
            found += requirements_in(lines)
    return found


def requirements_in(lines: list[str]) -> list[Requirement]:
    """Read the lines that are requirements."""
    found = []
    for line in lines:
        try:
            found.append(Requirement(line.partition(" #")[0].strip()))
        except InvalidRequirement:
            continue
    return found


def _settings(environ: Mapping[str, str]) -> Iterator[_Setting]:
    for option in _OPTIONS:
        if value := environ.get(f"PIP_{option.upper().replace('-', '_')}"):
            yield "env", option, value
    for file in _files(environ):
        config = configparser.RawConfigParser()
        try:
            config.read_string(file.read_text())
        except (OSError, UnicodeDecodeError, configparser.Error):
            continue
        for section in ("global", "download"):
            for option, value in config.items(section) if config.has_section(section) else ():
                if option in _OPTIONS:
                    yield section, option, value


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    home = Path(environ.get("HOME", "/"))
    named = environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return
    folders = environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep)
    yield from (Path(folder, "pip/pip.conf") for folder in folders if folder)
    yield Path("/etc/pip.conf")
    yield home / ".pip/pip.conf"
    yield Path(environ.get("XDG_CONFIG_HOME", str(home / ".config")), "pip/pip.conf")
    yield Path(sys.prefix, "pip.conf")
    if named:
        yield Path(named)


def _local(word: str) -> Path:
    address = urlsplit(word)
    return Path(unquote(address.path) if address.scheme == "file" else word).expanduser()


def _content(path: Path) -> list[str]:
    """Say what is in a file of constraints, or in a folder of wheels."""
    try:
        if path.is_dir():
            return [f"{each.name} {each.stat().st_size}" for each in path.iterdir()]
        return [path.read_text()]
    except (OSError, UnicodeDecodeError):
        return []
