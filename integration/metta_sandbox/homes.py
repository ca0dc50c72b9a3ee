"""Folders of the user's own, in which something is kept."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from metta_sandbox.errors import MachineError

_MEND = "let HOME, or XDG_STATE_HOME and XDG_CACHE_HOME, be folders that you can write to"


def own_folder(folder: Path, mend: str = _MEND) -> Path:
    """Make a folder of the user's own, if it is not there.

    Args:
        folder: Where.
        mend: What to do where it can't be made; by default, as one below a home.

    Raises:
        MachineError: It can't be made, or nothing can be written to it.

    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "it can't be written to")
    except OSError as error:
        raise MachineError(f"nothing can be kept in {folder}: {error.strerror}", mend) from error
    return folder
