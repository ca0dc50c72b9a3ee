"""Where the files are that are not Python: the Dockerfile, the Compose file, the constraints."""

from __future__ import annotations

from pathlib import Path

import metta_sandbox
from metta_sandbox.errors import MachineError


def package_folder() -> Path:
    """Return the folder of the package's own sources."""
    return Path(metta_sandbox.__file__).parent


def compose_folder() -> Path:
    """Return ``compose/``: inside an installed wheel, or at the root of a checkout.

    Raises:
        MachineError: It is in neither place, so the installation is incomplete.

    """
    package = package_folder()
    for candidate in (package / "_compose", package.parents[1] / "compose"):
        if (candidate / "Dockerfile").is_file():
            return candidate
    raise MachineError(
        f"No Dockerfile beside {package}: this installation is incomplete",
        "pip install --force-reinstall metta-sandbox",
    )
