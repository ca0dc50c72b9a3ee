"""A working folder that is a repository: cloned on this machine, by the user's own git."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from metta_sandbox.errors import InputError
from metta_sandbox.safe_text import for_terminal

#: Seconds that a clone gets.
_PATIENCE = 600.0
_LONGEST = 300
#: What git says before it says what is wrong.
_FATAL = re.compile(r"^(fatal|error): ")


def clone(url: str, ref: str | None, target: Path) -> None:
    """Clone a repository, and check out what is asked for.

    Credentials are whatever the user's git finds by itself. Nodes get none: a password in the
    address is left out of what they see.

    Args:
        url: What ``git clone`` takes: an address, or a path.
        ref: A branch, a tag or a commit; None for the default branch.
        target: A folder that is not there yet.

    Raises:
        InputError: It can't be had, or has no such ref.

    """
    shown = _without_credentials(url)
    _git(["clone", "--quiet", "--no-local", "--", url, str(target)], f"{shown} can't be cloned")
    if shown != url:
        _git(["-C", str(target), "remote", "set-url", "origin", shown], shown)
    if ref is not None:
        what = f"{shown} has no branch, tag or commit {ref}"
        try:
            _git(["-C", str(target), "checkout", "--quiet", ref, "--"], what)
        except InputError:
            shutil.rmtree(target)
            raise


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    if "@" not in parts.netloc or parts.scheme not in {"http", "https"}:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _git(words: Sequence[str], failed: str) -> None:
    # It asks nobody, also not for the password of a repository that is not there.
    quiet = {"GIT_SSH_COMMAND": "ssh -oBatchMode=yes", **os.environ, "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            ["git", *words],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env=quiet,
            stdin=subprocess.DEVNULL,
            timeout=_PATIENCE,
        )
    except FileNotFoundError:
        raise InputError("workdir.url: there is no git on this machine", "install git") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"workdir.url: {failed}: not within {_PATIENCE:g} s") from None
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        said = [line for line in said if _FATAL.match(line)] or said[-1:]
        why = _FATAL.sub("", said[0])[:_LONGEST] if said else f"git ended with {done.returncode}"
        raise InputError(
            f"workdir.url: {failed}: {for_terminal(why)}",
            "clone it yourself, and give the folder as workdir",
        )
