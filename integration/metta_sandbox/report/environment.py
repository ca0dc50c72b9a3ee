"""``environment.json``: what a run ran on and with, so that it can be repeated."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from metta_sandbox import __version__
from metta_sandbox.masking import masked_data
from metta_sandbox.report.results import write_text

FILE_NAME = "environment.json"
MASK = "***"
_PACKAGES = ("wandb", "python-on-whales", "pydantic", "torch", "mettagrid")
_NAME = r"[\w.-]*(?:token|secret|passw|passphrase|credential|api[_-]?key|access[_-]?key)[\w.-]*"
_ASSIGNED = re.compile(rf"(?P<name>{_NAME}\s*[=:]\s*)\S.*", re.IGNORECASE | re.DOTALL)
_FLAG = re.compile(rf"--?{_NAME}", re.IGNORECASE)
_IN_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^/\s@]+@", re.IGNORECASE)


@dataclass(frozen=True)
class Environment:
    """What a run ran on and with.

    Attributes:
        command: The command line, with secrets masked.
        engine: What scenarios are played on, and its versions where it has any.
        images: Image ids by what they are for.
        commit: The working copy's git commit; empty outside one.
        dirty: Whether the working copy had changes; None outside one.
        memory_bytes: What the machine has; None where that is not told.

    """

    command: tuple[str, ...]
    engine: str
    engine_versions: Mapping[str, str]
    images: Mapping[str, str]
    metta_sandbox: str
    python: str
    packages: Mapping[str, str]
    commit: str
    dirty: bool | None
    platform: str
    machine: str
    cpus: int
    memory_bytes: int | None
    ci: bool = field(default=False)


def describe(
    command: Sequence[str],
    *,
    engine: str = "",
    engine_versions: Mapping[str, str] | None = None,
    images: Mapping[str, str] | None = None,
    source: Path | None = None,
) -> Environment:
    """Look at this machine and process.

    Args:
        command: The command line as typed.
        engine: What scenarios are played on; empty if none was chosen yet.
        engine_versions: Versions of the engine's parts, such as ``docker`` and ``compose``.
        images: Image ids by what they are for.
        source: The working copy to name. Default: the current folder's.

    """
    commit, dirty = git_state(Path.cwd() if source is None else source)
    return Environment(
        command=masked(command),
        engine=engine,
        engine_versions=dict(engine_versions or {}),
        images=dict(images or {}),
        metta_sandbox=__version__,
        python=platform.python_version(),
        packages=_versions(),
        commit=commit,
        dirty=dirty,
        platform=platform.platform(),
        machine=platform.machine(),
        cpus=_cpus(),
        memory_bytes=_memory(),
        ci=os.environ.get("CI", "").lower() == "true",
    )


def write(environment: Environment, folder: Path) -> Path:
    """Write ``environment.json`` into a folder; give its path."""
    told = masked_data(asdict(environment))
    return write_text(folder / FILE_NAME, json.dumps(told, indent=2) + "\n")


def masked(command: Sequence[str]) -> tuple[str, ...]:
    """Hide what a command line says of passwords, tokens and keys."""
    shown: list[str] = []
    for before, word in zip(("", *command), command, strict=False):
        if _FLAG.fullmatch(before) and not word.startswith("-"):
            shown.append(MASK)
        else:
            shown.append(
                _IN_URL.sub(rf"\g<scheme>{MASK}@", _ASSIGNED.sub(rf"\g<name>{MASK}", word))
            )
    return tuple(shown)


def git_state(folder: Path) -> tuple[str, bool | None]:
    """Give a working copy's commit, and whether it has changes; ("", None) if it is none."""
    commit = _git(folder, "rev-parse", "HEAD")
    changes = _git(folder, "status", "--porcelain")
    return (commit or "").strip(), None if commit is None or changes is None else bool(changes)


def _git(folder: Path, *words: str) -> str | None:
    # A run must not wait for a password prompt or change the index because of a report.
    quiet = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
            env=quiet,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _versions() -> dict[str, str]:
    installed = {name: _version(name) for name in _PACKAGES}
    return {name: version for name, version in installed.items() if version is not None}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpus() -> int:
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
