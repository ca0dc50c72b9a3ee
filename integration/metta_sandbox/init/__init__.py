"""A first scenario, and the workflow that plays it, for a repository that has none."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from metta_sandbox.errors import InputError
from metta_sandbox.scenario.schema import schema_text

_TEMPLATES = Path(__file__).parent
#: What a GitHub repository reads, and what editors do.
WORKFLOW = ".github/workflows/sandbox.yml"
SCENARIO = "scenarios/first.yaml"
SCHEMA = "scenarios/scenario.schema.json"


@dataclass(frozen=True)
class InitResult:
    """What became of a repository's files.

    Args:
        new: Those that were written.
        kept: Those that were there already, and left as they were.

    """

    new: tuple[Path, ...]
    kept: tuple[Path, ...]


def write(folder: Path) -> InitResult:
    """Write a first scenario, its schema and a workflow; nothing that is there is overwritten.

    Args:
        folder: The root of a repository; made if it does not exist.

    Raises:
        InputError: It is no such root, or can't be written to.

    """
    _require_root(folder)
    new: list[Path] = []
    kept: list[Path] = []
    for name, text in _texts().items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
            new.append(path)
        except FileExistsError:
            if not path.is_file():
                raise InputError(f"{path} is in the way", "move it, or name a folder") from None
            kept.append(path)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}", "is the folder writable?") from None
    return InitResult(tuple(new), tuple(kept))


def _texts() -> Mapping[str, str]:
    return {
        SCENARIO: (_TEMPLATES / "scenario.yaml").read_text(encoding="utf-8"),
        SCHEMA: schema_text(),
        WORKFLOW: (_TEMPLATES / "workflow.yml").read_text(encoding="utf-8"),
    }


def _require_root(folder: Path) -> None:
    """Refuse a folder inside of a repository: GitHub reads workflows at the root alone."""
    absolute = Path(os.path.abspath(folder))  # noqa: PTH100 - links stay as they are
    if (absolute / ".git").exists():
        return
    for above in absolute.parents:
        if (above / ".git").exists():
            message = f"{folder} is inside of the repository {above}, whose root has the workflows"
            raise InputError(message, f"metta-sandbox init {above}")
