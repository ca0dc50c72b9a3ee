"""The caller's credentials, as SkyPilot mounts them: the same places under the node user's home.

They are only ever mounted or copied, read-only; nothing here opens one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metta_sandbox.errors import MachineError
from metta_sandbox.stack import watch_copies as watch_copies_program
from metta_sandbox.stack.watch_copies import remove

#: What is offered to nodes, of the caller's home.
NAMES = (".netrc", ".metta", ".config", ".ssh", ".aws")
#: The control plane's token, within ``.metta``.
TOKENS = "observatory_tokens.yaml"
#: A copy lies in memory, so it must be small.
_LARGEST = 64 * 1024 * 1024
#: By run: what removes the copies when this process is gone.
_watchers: dict[str, subprocess.Popen[bytes]] = {}
_lock = threading.Lock()


@dataclass(frozen=True)
class Credential:
    """A file or folder of the caller's home.

    Args:
        name: Its name there, such as ``.netrc``.
        source: Where it, or its copy, is.

    """

    name: str
    source: Path


def find_credentials(home: Path | None = None) -> tuple[Credential, ...]:
    """Find the caller's credentials that exist."""
    home = home or Path.home()
    return tuple(Credential(name, home / name) for name in NAMES if (home / name).exists())


def tokens_of(credentials: Sequence[Credential]) -> Path | None:
    """Return the file of control-plane tokens among them, if there is one."""
    for credential in credentials:
        path = credential.source / TOKENS
        if credential.name == ".metta" and path.is_file():
            return path
    return None


def stage_credentials(
    credentials: Sequence[Credential], folder: Path, owner: tuple[int, int] | None
) -> tuple[Credential, ...]:
    """Copy credentials to where nobody but the nodes' user can read them, and nobody can write.

    Args:
        credentials: What to copy.
        folder: Where to, in memory; made, and removed by whoever asked.
        owner: The uid and gid that shall own the copies, when the caller is root.

    Raises:
        MachineError: They are too large to be copied into memory, or somebody else has made the
            folder that they would lie in.

    """
    # Anybody may write where it lies, so nobody else may have made it.
    own = folder.parent.parent
    own.mkdir(mode=0o700, exist_ok=True)
    if own.is_symlink() or own.stat().st_uid != os.getuid():
        raise MachineError(f"{own} belongs to somebody else", f"sudo rm -r {own}")
    own.chmod(0o700)
    folder.mkdir(mode=0o700, parents=True)
    for credential in credentials:
        target = folder / credential.name
        if credential.source.is_dir():
            _check_size(credential)
            shutil.copytree(credential.source, target, ignore=_specials, symlinks=True)
        else:
            shutil.copy2(credential.source, target)
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink():
            continue
        path.chmod(0o500 if path.is_dir() else 0o400)
        if owner:
            os.chown(path, *owner)
    return tuple(Credential(each.name, folder / each.name) for each in credentials)


def memory_folder(run: str, scenario: str) -> Path:
    """Return a folder in memory for a stack's copies: on Linux on a tmpfs."""
    return memory_root(run) / scenario


def memory_root(run: str) -> Path:
    """Return the folder in memory that holds all copies of a run."""
    shm = Path("/dev/shm")  # noqa: S108 - the host's tmpfs; the folder is private
    root = shm if shm.is_dir() else Path(os.environ.get("TMPDIR", "/tmp"))  # noqa: S108
    return root / f"metta-credentials-{os.getuid()}" / run


def remove_copies(run: str, scenario: str | None = None) -> None:
    """Remove all copies of a run's credentials, or those of one of its scenarios."""
    if scenario:
        remove(memory_folder(run, scenario))
        return
    remove(memory_root(run))
    with _lock:
        watcher = _watchers.pop(run, None)
    if watcher and watcher.stdin:
        watcher.stdin.close()
        watcher.wait()


def watch_copies(run: str) -> None:
    """Have all copies of a run's credentials removed once this process is gone, even if killed.

    Raises:
        MachineError: What removes them does not start.

    """
    with _lock:
        if run in _watchers:
            return
        # Not to be found as the run's own: it ends by itself, with this process.
        watcher = subprocess.Popen(
            [sys.executable, "-IS", watch_copies_program.__file__, str(memory_root(run))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            env={name: value for name, value in os.environ.items() if not _marks(name)},
        )
        _watchers[run] = watcher
    assert watcher.stdout is not None
    with watcher.stdout as said:
        if not said.readline():
            raise MachineError("what removes copies of credentials does not start")


def _marks(name: str) -> bool:
    """Tell whether a variable of the environment says whose a process is."""
    return name.startswith("METTA_") or name == "TMPDIR"


def _check_size(credential: Credential) -> None:
    size = 0
    for path in credential.source.rglob("*"):
        if path.is_file() and not path.is_symlink():
            size += path.stat().st_size
    if size > _LARGEST:
        raise MachineError(
            f"~/{credential.name} holds {size // 2**20} MB, too much to be copied for nodes",
            "move what is no credential out of it, or run as a user other than root with Docker",
        )


def _specials(folder: str, names: list[str]) -> list[str]:
    """Leave out sockets and pipes, which can't be copied."""
    return [
        name for name in names if not (Path(folder, name).is_file() or Path(folder, name).is_dir())
    ]
