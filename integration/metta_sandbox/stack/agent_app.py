"""The zipapp that carries agent, hub, relay and rank wrapper into any image and interpreter."""

from __future__ import annotations

import hashlib
import io
import marshal
import os
import tempfile
import zipfile
from collections.abc import Iterator
from importlib.resources import files
from importlib.util import MAGIC_NUMBER, source_hash
from pathlib import Path
from typing import TYPE_CHECKING

from metta_sandbox.node.agent.injection.hook import HOOK

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable  # of Python 3.11

_MAIN = b"""\
import sys
from metta_sandbox.node.agent.__main__ import main
sys.exit(main())
"""
#: Found by the interpreter of a rank; see ``node.agent.injection``. What strikes it is not even
#: imported where no fault does.
_HOOK = b"""\
import os
import sys

folder = os.path.dirname(__file__)
# Of a program that has imported its own already, at its interpreter's start.
own = [name for name in sys.modules if name.partition(".")[0] == "metta_sandbox"]
theirs = {name: sys.modules.pop(name) for name in own}
sys.path.insert(0, os.path.dirname(folder))
from metta_sandbox.node.agent.recorder.flight import enter as enter_flight
from metta_sandbox.node.agent.injection.hook import CLOSING, hand_on, is_meant, step_aside
from metta_sandbox.node.agent.recorder.life import enter as enter_witness

entering = [enter_witness, enter_flight]
if is_meant(os.environ):
    from metta_sandbox.node.agent.injection.injector import enter as enter_injection

    entering.append(enter_injection)
if CLOSING in os.environ:
    from metta_sandbox.node.agent.injection.closing import enter as enter_closing

    entering.append(enter_closing)
if "METTA_PRETENDED_GPUS" in os.environ:
    from metta_sandbox.node.agent.injection.pretended import enter as enter_pretended

    entering.append(enter_pretended)
sys.path.pop(0)
step_aside(folder)
sys.modules.update(theirs)
for enter in entering:
    enter()
hand_on()
"""
#: In a compiled file's head: named by its source's hash, which nobody need check.
_UNCHECKED = (1).to_bytes(4, "little")
#: Zip archives know no time before 1980.
_TIME = (1980, 1, 1, 0, 0, 0)


def agent_app() -> bytes:
    """Build the zipapp.

    Beside each source is what this Python compiles it to, which another version of Python passes
    over: a node starts a fifth sooner where both are the same. Nothing is compressed, so that no
    library for that is needed first.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, source in _sources().items():
            archive.writestr(zipfile.ZipInfo(name, _TIME), source)
            archive.writestr(zipfile.ZipInfo(f"{name}c", _TIME), _compiled(name, source))
    return buffer.getvalue()


def _sources() -> dict[str, bytes]:
    package = "metta_sandbox/node/agent"
    sources = {
        "__main__.py": _MAIN,
        f"{HOOK}/sitecustomize.py": _HOOK,
        "metta_sandbox/__init__.py": b"",
        "metta_sandbox/node/__init__.py": b"",
        **dict(_in_package(files("metta_sandbox") / "node" / "agent", package)),
    }
    return dict(sorted(sources.items()))


def _in_package(folder: Traversable, name: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.name.endswith(".py"):
            yield f"{name}/{entry.name}", entry.read_bytes()
        elif entry.is_dir() and entry.name != "__pycache__":
            yield from _in_package(entry, f"{name}/{entry.name}")


def _compiled(name: str, source: bytes) -> bytes:
    """Compile a source to a file that is held against no source any more (PEP 552)."""
    code = marshal.dumps(compile(source, name, "exec", dont_inherit=True))
    return MAGIC_NUMBER + _UNCHECKED + source_hash(source) + code


def place(folder: Path) -> Path:
    """Return the zipapp's path in a folder; its name tells its sources and its Python."""
    digest = hashlib.sha256(MAGIC_NUMBER + repr(_sources()).encode())
    return folder / f"agent-{digest.hexdigest()[:12]}.pyz"


def install(folder: Path) -> Path:
    """Write the zipapp into a folder, and return its path."""
    path = place(folder)
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(agent_app())
        Path(draft).chmod(0o644)
        Path(draft).replace(path)
    return path
