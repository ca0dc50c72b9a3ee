"""Scripts that the harness runs on nodes by ``python -c``, to see what only a node can see.

Each stands alone, as a foreign image may lack this package. It prints lines of JSON.
"""

from __future__ import annotations

from importlib import resources


def source(name: str) -> str:
    """Read a script's text.

    Args:
        name: Its file's, without the ending.

    """
    return resources.files(__name__).joinpath(f"{name}.py").read_text(encoding="utf-8")
