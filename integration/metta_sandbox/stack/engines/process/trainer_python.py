"""The environment of a trainer's own on nodes that are local processes."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import sys
from pathlib import Path

from filelock import FileLock

from metta_sandbox.image import overlay
from metta_sandbox.image.host_cache import cache_folder
from metta_sandbox.image.node_platform import NodePlatform
from metta_sandbox.image.pip_client import find_pip
from metta_sandbox.image.present import PresentPackage
from metta_sandbox.image.requirements import RequiredPackage
from metta_sandbox.image.trainer_packages import fetch
from metta_sandbox.progress import Progress
from metta_sandbox.stack.engines.process.node_python import run_step

#: Printed by an interpreter: its version, and the core metadata of all its packages.
_LOOK = """\
import importlib.metadata, json, sys
texts = [one.read_text("METADATA") or "" for one in importlib.metadata.distributions()]
print(json.dumps({"python": "%d.%d" % sys.version_info[:2], "packages": texts}))
"""


def ensure_trainer_bin(
    python: str, required: tuple[RequiredPackage, ...], progress: Progress, *, gpu: bool
) -> Path | None:
    """Return the commands' folder of an environment over the nodes' that has what is required.

    Args:
        python: The nodes' interpreter.
        required: What the trainer imports.
        progress: Gets a line for each step.
        gpu: Whether CUDA builds are wanted.

    Returns:
        The folder, or None if nodes have all that is required.

    Raises:
        InputError: pip finds no package for a requirement.
        MachineError: The packages can't be had or installed.

    """
    told = json.loads(run_step([python, "-c", _LOOK]))
    # Of a package that is there twice, the one that comes first is imported.
    present = {
        one.name: one for one in map(PresentPackage.of, filter(None, reversed(told["packages"])))
    }
    if sys.platform != "linux":
        # Elsewhere PyPI's builds of torch have no CUDA, so pip may fetch them by itself.
        texts = [each.text for each in required]
        versions = sorted(f"{one.name}=={one.version}" for one in present.values())
        return _environment(python, texts, json.dumps([texts, versions]), progress)
    nodes = NodePlatform.of_engine(platform.machine(), told["python"])
    house = fetch(required, tuple(sorted(present.values())), nodes, progress, gpu=gpu)
    if house is None:
        return None
    links = ["--no-index", "--find-links", str(house.path), "--no-deps"]
    pins = ["--requirement", str(house.path / "requirements.txt")]
    return _environment(python, [*links, *pins], house.key, progress)


def make_user_environment(python: str, home: Path) -> None:
    """Make the environment in a node's home that SkyPilot activates: what is installed goes there.

    Raises:
        MachineError: It can't be made.

    """
    folder = home / "sky-user-env"
    run_step([python, overlay.__file__, str(folder)])
    run_step([python, overlay.__file__, str(folder), "--scripts"])


def _environment(python: str, asked: list[str], contents: str, progress: Progress) -> Path:
    """Return the commands' folder of an environment, made if it is not there.

    Args:
        python: What it lies over.
        asked: What pip is asked to install.
        contents: Differs when what it comes to have does.
        progress: Gets a line if it is made.

    """
    parts = json.dumps([python, contents, Path(overlay.__file__).read_text()])
    key = hashlib.sha256(parts.encode()).hexdigest()[:16]
    folder = cache_folder("trainers") / key
    ready = folder / "ready"
    with FileLock(f"{folder}.lock"):
        if not ready.exists():
            progress(f"making the trainer's environment, once: {folder}")
            shutil.rmtree(folder, ignore_errors=True)
            run_step([python, overlay.__file__, str(folder)])
            pip = [*find_pip(), "--python", str(folder / "bin" / "python")]
            run_step([*pip, "install", "--quiet", *asked])
            run_step([python, overlay.__file__, str(folder), "--scripts"])
            ready.touch()
    return folder / "bin"
