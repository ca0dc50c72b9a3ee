"""What an image of the user's is built from, as a value."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from metta_sandbox.image.image_context import KIND_LABEL

#: The repository of images that are built for a scenario.
BUILT_REPOSITORY = "metta-sandbox-built"
#: Begins the variables in which Compose finds secrets.
_VARIABLE = "METTA_BUILD_SECRET_"


@dataclass(frozen=True)
class ImageBuild:
    """What an image is built from: a folder, its Dockerfile, values of its ARGs, a stage.

    And secrets, by name, which neither the image nor its history nor any file keeps.
    """

    context: Path
    dockerfile: str = "Dockerfile"
    args: tuple[tuple[str, str], ...] = ()
    target: str | None = None
    secrets: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def tag(self) -> str:
        """Name the image after where it is built from, so that the next build replaces it."""
        parts = json.dumps([str(self.context), self.dockerfile, self.args, self.target])
        return f"{BUILT_REPOSITORY}:{hashlib.sha256(parts.encode()).hexdigest()[:12]}"

    def compose_file(self) -> dict[str, object]:
        """Return the Compose file that builds it."""
        build: dict[str, object] = {
            "context": str(self.context),
            "dockerfile": self.dockerfile,
            "args": {name: value.replace("$", "$$") for name, value in self.args},
            "labels": {KIND_LABEL: "built"},
        }
        if self.target:
            build["target"] = self.target
        file: dict[str, object] = {"services": {"node": {"image": self.tag, "build": build}}}
        if self.secrets:
            build["secrets"] = [name for name, _ in self.secrets]
            file["secrets"] = {name: {"environment": _VARIABLE + name} for name, _ in self.secrets}
        return file

    @contextmanager
    def giving_secrets(self) -> Iterator[None]:
        """Let an engine's client that is started meanwhile find the secrets in its environment."""
        told = {_VARIABLE + name: value for name, value in self.secrets}
        os.environ.update(told)
        try:
            yield
        finally:
            for name in told:
                os.environ.pop(name, None)
