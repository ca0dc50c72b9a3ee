"""Environments of the peers: each its own, made once from PyPI and kept in the user's cache."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contest import UnableError
from benchmarks.talking import call
from metta_sandbox.image.host_cache import cache_folder, locked

TORCHX = ("torchx==0.7.0", "docker==7.2.0")
KUBEFLOW = ("kubeflow[docker]==0.5.0",)
TESTCONTAINERS = ("testcontainers==4.15.0",)
PYTEST_DOCKER = ("pytest-docker==3.2.6",)
ALL = (TORCHX, KUBEFLOW, TESTCONTAINERS, PYTEST_DOCKER)


def python_of(requirements: Sequence[str]) -> Path:
    """Return the interpreter of an environment with these packages, making it if need be.

    Raises:
        UnableError: They can't be had.

    """
    name = hashlib.sha256(repr((sys.version, *requirements)).encode()).hexdigest()[:12]
    folder = cache_folder("bench") / name
    python = folder / "bin" / "python"
    done = folder / "done"
    with locked(folder.with_suffix(".lock"), lambda _line: None, ""):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            call([sys.executable, "-m", "venv", folder])
            try:
                call([python, "-m", "pip", "install", "--quiet", *requirements])
            except UnableError as error:
                shutil.rmtree(folder, ignore_errors=True)
                raise UnableError(f"{requirements[0]} can't be installed: {error}") from None
            done.touch()
    return python
