"""What an image of the user's is built from, as a value."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from metta_sandbox.image.image_context import KIND_LABEL

#: The repository of images that are built for a scenario.
BUILT_REPOSITORY = "metta-sandbox-built"


@dataclass(frozen=True)
class Build:
    """What an image is built from: a folder, its Dockerfile, values of its ARGs, a stage."""

    context: Path
    dockerfile: str = "Dockerfile"
    args: tuple[tuple[str, str], ...] = ()
    target: str | None = None

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
        return {"services": {"node": {"image": self.tag, "build": build}}}
