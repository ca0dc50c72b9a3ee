"""A stack's package index: where the harness answers it, and how nodes come to ask it."""

from __future__ import annotations

import hashlib
import shutil
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path

from metta_sandbox.image.host_cache import cache_folder
from metta_sandbox.services.packages.answers import ROOT

#: Where it listens in a container.
PORT = 8082
#: Below the user's cache, so that files of packages can be linked from there.
_ASKED = ("packages", "asked")
#: Seconds that a node waits for a file: the harness has to fetch it first.
_PATIENCE = "900"


def answers_folder(run: str, scenario: str) -> Path:
    """Name the folder where the index of a scenario's stack is answered."""
    short = hashlib.sha256(scenario.encode()).hexdigest()[:8]
    return user_cache_path("metta-sandbox").joinpath(*_ASKED, run, short)


def make_answers_folder(folder: Path) -> None:
    """Make it, so that the control plane of whatever user may read what is in there.

    Raises:
        MachineError: Nothing can be written there.

    """
    cache_folder(*_ASKED)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)


def remove_answers(run: str, scenario: str | None = None) -> None:
    """Remove the answers of a run, or of one of its scenarios."""
    folder = answers_folder(run, scenario or "")
    shutil.rmtree(folder if scenario else folder.parent, ignore_errors=True)
    with suppress(OSError):  # another scenario's are still there
        folder.parent.rmdir()


def index_environment(host: str, port: int | None) -> dict[str, str]:
    """Build the variables by which pip and uv ask the index, whatever is configured elsewhere.

    Args:
        host: Its name or address, as a node sees it.
        port: Its port; None where there is none, as in a stack of an older make.

    """
    if port is None:
        return {}
    address = f"http://{host}:{port}{ROOT}"
    return {
        "PIP_INDEX_URL": address,
        "PIP_TRUSTED_HOST": host,
        "PIP_DEFAULT_TIMEOUT": _PATIENCE,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        # Files are kept on the host.
        "PIP_NO_CACHE_DIR": "1",
        "UV_DEFAULT_INDEX": address,
        "UV_INSECURE_HOST": f"{host}:{port}",
        "UV_HTTP_TIMEOUT": _PATIENCE,
        "UV_NO_CACHE": "1",
        "UV_PYTHON_DOWNLOADS": "never",
    }
