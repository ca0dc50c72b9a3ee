"""The zipapp that carries agent, hub, relay and rank wrapper into any image and interpreter."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import zipfile
from importlib.resources import files
from pathlib import Path

_MAIN = b"""\
import sys
from metta_sandbox.node.agent.__main__ import main
sys.exit(main())
"""
#: Zip archives know no time before 1980; a fixed one makes equal sources equal bytes.
_TIME = (1980, 1, 1, 0, 0, 0)


def agent_app() -> bytes:
    """Build the zipapp. Equal sources give equal bytes."""
    package = files("metta_sandbox")
    folder = package / "node" / "agent"
    members = {
        "__main__.py": _MAIN,
        "metta_sandbox/__init__.py": b"",
        "metta_sandbox/node/__init__.py": b"",
        **{
            f"metta_sandbox/node/agent/{source.name}": source.read_bytes()
            for source in folder.iterdir()
            if source.name.endswith(".py")
        },
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(members):
            archive.writestr(zipfile.ZipInfo(name, _TIME), members[name])
    return buffer.getvalue()


def place(folder: Path) -> Path:
    """Return the zipapp's path in a folder; its name tells its content."""
    return folder / f"agent-{hashlib.sha256(agent_app()).hexdigest()[:12]}.pyz"


def install(folder: Path) -> Path:
    """Write the zipapp into a folder, and return its path."""
    path, content = place(folder), agent_app()
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(draft).chmod(0o644)
        Path(draft).replace(path)
    return path
