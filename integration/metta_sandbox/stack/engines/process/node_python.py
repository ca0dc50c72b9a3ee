"""The interpreter of nodes that are local processes: this one, or an environment made for them."""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from metta_sandbox.errors import MachineError
from metta_sandbox.homes import own_folder
from metta_sandbox.image import overlay, wheelhouse
from metta_sandbox.image.node_platform import NodePlatform
from metta_sandbox.image.wheel_metadata import own_requirements
from metta_sandbox.progress import Progress
from metta_sandbox.resources import compose_folder, package_folder

#: What a node imports beyond what the host does.
MODULES = ("torch", "mettagrid", "sklearn", "fastapi", "uvicorn")
#: Pythons that mettagrid has wheels for.
_SUITABLE = ("3.11", "3.12")


def find_python(progress: Progress) -> str:
    """Return an interpreter that has all that a node needs, making one if this one has not.

    Raises:
        MachineError: No suitable Python is here, or its packages can't be had.

    """
    if all(importlib.util.find_spec(module) for module in MODULES):
        return sys.executable
    python, version = suitable_python()
    wheels, folder = _environment(version)
    ready = folder / "ready"
    own_folder(folder.parent)
    with FileLock(f"{folder}.lock"):
        if not ready.exists():
            progress(f"making the nodes' environment, once: {folder}")
            _make(python, folder, wheels, progress)
            ready.touch()
        return str(_with_ours(folder) / "bin" / "python")


def made_python() -> str | None:
    """Return the interpreter that nodes have, unless it is yet to be made.

    Raises:
        MachineError: No suitable Python is here.

    """
    if all(importlib.util.find_spec(module) for module in MODULES):
        return sys.executable
    over = _over(_environment(suitable_python()[1])[1])
    return str(over / "bin" / "python") if (over / "ready").exists() else None


def _environment(version: str) -> tuple[wheelhouse.WheelSpec, Path]:
    """Say which packages nodes of a version of Python have, and where their environment lies."""
    wheels = wheelhouse.WheelSpec.for_nodes(
        NodePlatform.of_engine(platform.machine(), version), _constraints()
    )
    return wheels, Path(user_cache_path("metta-sandbox")) / "nodes" / wheels.key


def _over(folder: Path) -> Path:
    package = package_folder()
    parts = f"{package}\n{Path(overlay.__file__).read_text()}"
    return folder.with_name(f"{folder.name}-{hashlib.sha256(parts.encode()).hexdigest()[:8]}")


def _with_ours(folder: Path) -> Path:
    """Return an environment over the nodes' that has this copy of our package, too.

    The one below has what we need, but not us: all working copies share it.
    """
    package, over = package_folder(), _over(folder)
    ready = over / "ready"
    if not ready.exists():
        shutil.rmtree(over, ignore_errors=True)
        make = [str(folder / "bin" / "python"), overlay.__file__, str(over)]
        run_step([*make, f"--besides={package}"])
        run_step([*make, "--scripts"])
        ready.touch()
    return over


def _constraints() -> Path:
    return compose_folder() / "constraints.txt"


def suitable_python() -> tuple[str, str]:
    """Find an interpreter that mettagrid has wheels for; returns it and its version.

    Raises:
        MachineError: There is none.

    """
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if here in _SUITABLE:
        return sys.executable, here
    for version in _SUITABLE:
        if found := shutil.which(f"python{version}"):
            return found, version
    raise MachineError(
        f"nodes need Python {' or '.join(_SUITABLE)} (mettagrid has wheels for no other); "
        f"this is {here}, and no other is on the PATH",
        f"install Python {_SUITABLE[0]}, or use Docker, whose nodes bring their own",
    )


def _make(python: str, folder: Path, wheels: wheelhouse.WheelSpec, progress: Progress) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    run_step([python, "-m", "venv", str(folder)])
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    if sys.platform == "linux":
        house = wheelhouse.ensure(wheels, progress)
        requirements = str(house.path / "requirements.txt")
        progress("packages: installing")
        run_step(
            [*pip, "--no-index", "--find-links", str(house.path), "--requirement", requirements]
        )
        return
    # Elsewhere PyPI's builds of torch have no CUDA, so pip may fetch them by itself.
    needed = own_requirements(wheels.platform)
    run_step([*pip, "--constraint", str(_constraints()), *needed])


def run_step(command: list[str]) -> str:
    """Run a step of making an environment, and return what it prints.

    Raises:
        MachineError: It failed; its last lines are in the message.

    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = "\n".join((done.stderr or done.stdout).splitlines()[-15:])
        raise MachineError(f"{' '.join(command[:5])} … failed:\n{said}", "try again, or use Docker")
    return done.stdout
