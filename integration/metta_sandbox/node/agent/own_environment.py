"""The environment that what runs on a node installs into: a node's own, over that of all nodes."""

import os
from typing import Mapping

#: Its folder, below a node's home.
FOLDER = "venv"
#: Variables by which pip and uv ask the stack's package index.
INDEX_VARIABLES = (
    *("PIP_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT", "PIP_DISABLE_PIP_VERSION_CHECK"),
    *("PIP_NO_CACHE_DIR", "UV_DEFAULT_INDEX", "UV_INSECURE_HOST", "UV_HTTP_TIMEOUT"),
    *("UV_NO_CACHE", "UV_PYTHON_DOWNLOADS"),
)
#: What lies among its packages from the start.
_AT_FIRST = frozenset({"behind.pth", "__pycache__"})


def bin_folder(home: str) -> str:
    """Name the folder of its commands."""
    return os.path.join(home, FOLDER, "bin")


def path_without(environ: Mapping[str, str]) -> str:
    """Give ``PATH`` without the environment's folder of commands."""
    own = bin_folder(environ.get("HOME", ""))
    folders = environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(each for each in folders if each != own)


def path_of_use(environ: Mapping[str, str]) -> str:
    """Give ``PATH``, without the environment's commands as long as nothing is installed there.

    They find the very packages then that those behind it do, which a warm process may have
    imported already.
    """
    lib = os.path.join(environ.get("HOME", ""), FOLDER, "lib")
    try:
        for version in os.listdir(lib):
            packages = os.path.join(lib, version, "site-packages")
            if not _AT_FIRST.issuperset(os.listdir(packages)):
                return environ.get("PATH", os.defpath)
    except OSError:  # a node without one
        pass
    return path_without(environ)
