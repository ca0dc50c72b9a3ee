"""The environment of a node that is a local process, into which its workload installs.

What all nodes can share is made once for an interpreter; each node's own is a dozen files.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from metta_sandbox.errors import MachineError
from metta_sandbox.image import overlay
from metta_sandbox.image.host_cache import cache_folder
from metta_sandbox.image.pip_client import find_pip
from metta_sandbox.node.agent.own_environment import FOLDER

_READY = "ready"
_COMMANDS = "commands"
#: Begins a command, which the node's own interpreter then runs: for sh the second line is a
#: command, and for Python the second and third are a text.
_OWN = f"#!/bin/sh\n'''exec' \"$HOME/{FOLDER}/bin/python\" \"$0\" \"$@\"\n' '''\n"


@dataclass(frozen=True)
class Model:
    """What the environments of nodes are made after.

    Args:
        folder: An environment over an interpreter's own.

    """

    folder: Path

    @property
    def commands(self) -> Path:
        """The commands of the interpreter's own environment, such as torchrun.

        They run in the environment of whichever node calls them, and see its packages.
        """
        return self.folder / _COMMANDS

    def make(self, folder: Path) -> None:
        """Make a node's environment."""
        (packages,) = self.folder.glob("lib/python3*/site-packages")
        own = folder / packages.relative_to(self.folder)
        own.mkdir(parents=True)
        (own / "behind.pth").symlink_to(packages / "behind.pth")
        (folder / "bin").mkdir()
        shutil.copyfile(self.folder / "pyvenv.cfg", folder / "pyvenv.cfg")
        links = [*(self.folder / "bin").glob("python*"), self.folder / "lib64"]
        for path in filter(Path.is_symlink, links):
            (folder / path.relative_to(self.folder)).symlink_to(path.readlink())


def ensure_model(python: str) -> Model:
    """Return the model for an interpreter, made if it is not there.

    Raises:
        MachineError: It can't be made.

    """
    model = model_of(python)
    folder = model.folder
    with FileLock(f"{folder}.lock"):
        if not (folder / _READY).exists():
            shutil.rmtree(folder, ignore_errors=True)
            _run([python, overlay.__file__, str(folder)])
            _run([python, overlay.__file__, str(folder), "--scripts"])
            _share_commands(folder)
            (folder / _READY).touch()
    return model


def model_of(python: str) -> Model:
    """Say where the model for an interpreter is, or will be."""
    code = Path(overlay.__file__).read_text() + Path(__file__).read_text()
    parts = [python, Path(python).parent.stat().st_mtime_ns, code]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    return Model(cache_folder("environments") / key)


def _share_commands(folder: Path) -> None:
    """Let the commands run in any node's environment, and ``pip`` install there."""
    (folder / _COMMANDS).mkdir()
    begin = f"#!{folder / 'bin' / 'python'}\n"
    for path in (folder / "bin").iterdir():
        text = "" if path.is_symlink() else path.read_text(errors="surrogateescape")
        if text.startswith(begin):
            _write(folder / _COMMANDS / path.name, _OWN + text[len(begin) :])
    if not (folder / _COMMANDS / "pip").exists():
        pip = shlex.join([*find_pip(), "--python"])
        own = f'"$HOME/{FOLDER}/bin/python"'
        _write(folder / _COMMANDS / "pip", f'#!/bin/sh\nexec {pip} {own} "$@"\n')


def _write(path: Path, text: str) -> None:
    path.write_text(text, errors="surrogateescape")
    path.chmod(0o755)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = "\n".join((done.stderr or done.stdout).splitlines()[-15:])
        raise MachineError(f"{' '.join(command[:5])} … failed:\n{said}", "try again, or use Docker")
