"""Which files are a scenario's own, and which hold keys."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

#: What in a home holds keys and tokens, of the programs that most people have.
_IN_A_HOME = (
    *(".ssh", ".aws", ".gnupg", ".config", ".metta", ".sky", ".kube", ".docker", ".azure", ".oci"),
    *(".gcloud", ".databricks", ".ngc", ".huggingface", ".cache/huggingface", ".pki", ".mozilla"),
    *(".password-store", ".terraform.d", ".cargo", ".gem", ".local/share/keyrings"),
)
#: A folder that has one of these is a home, whoever's.
_MARKS_A_HOME = (".ssh", ".gnupg", ".aws", ".netrc")
_OF_THE_MACHINE = ("/etc", "/proc", "/sys", "/boot", "/run/secrets", "/run/user")
#: What a refusal ends in.
WAY_OUT = (
    "credentials: true lets nodes see those of your home, read-only; workload.mounts lets them see "
    "one more file or folder"
)


def holds_keys(path: Path) -> bool:
    """Tell whether a file or folder may be, or hold, somebody's keys; links are followed."""
    real = _real(path)
    homes = {*_homes(), *([real] if _is_a_home(real) else [])}
    machines = [Path(each) for each in _OF_THE_MACHINE]
    if any(real in (each, *each.parents) for each in (*homes, *machines)):
        return True
    if any(each in real.parents for each in machines):
        return True
    return any(_is_private(real, home) for home in homes if home in real.parents)


def lies_beside(path: Path, file: Path) -> bool:
    """Tell whether a file, wherever links lead, is in the folder tree of a scenario file.

    That is the scenario's repository, or else its folder, but for what is hidden in there.
    """
    real = _real(path)
    folder = _real(file.parent)
    tops = [folder]
    if holds_keys(folder):
        return real == folder / file.name
    above = (folder, *folder.parents)
    repository = next((each for each in above if _is_there(each / ".git")), None)
    if repository and not holds_keys(repository):
        tops.append(repository)
    return any(
        top in real.parents
        and not any(part.startswith(".") for part in real.relative_to(top).parts)
        for top in tops
    )


def _is_private(real: Path, home: Path) -> bool:
    inside = real.relative_to(home)
    named = [Path(each) for each in _IN_A_HOME]
    if any(inside in (each, *each.parents) or each in inside.parents for each in named):
        return True
    return len(inside.parts) == 1 and inside.name.startswith(".") and not real.is_dir()


def _is_a_home(real: Path) -> bool:
    return any(_is_there(real / each) for each in _MARKS_A_HOME)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _homes() -> Iterator[Path]:
    yield _real(Path("/root"))
    with suppress(RuntimeError):
        yield _real(Path.home())
    with suppress(KeyError):
        yield _real(Path(pwd.getpwuid(os.getuid()).pw_dir))


def _real(path: Path) -> Path:
    """Follow links as far as that is possible; a path that is none stays as it is."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):
        return path
