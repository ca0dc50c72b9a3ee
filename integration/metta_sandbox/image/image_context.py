"""What a node image is built from, as a value: its name, its build file, its folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

#: The repository of node images, and the labels by which they are found again.
REPOSITORY = "metta-sandbox-node"
#: And of those with a trainer's packages over them.
TRAINER_REPOSITORY = "metta-sandbox-trainer"
KIND_LABEL = "dev.metta-sandbox.kind"
UID_LABEL = "dev.metta-sandbox.uid"

#: An image asked for this recently may be about to be used: several runs share an engine.
RESPITE_SECONDS = 3600.0

#: Whom the node user is when the caller is root, who must not run trainers.
_ORDINARY = 1000


@dataclass(frozen=True)
class NodeUser:
    """Who runs things in a node.

    Args:
        uid: The caller's, so that what a node writes is the caller's.
        gid: The same.

    """

    uid: int
    gid: int

    @classmethod
    def of_caller(cls, uid: int | None = None, gid: int | None = None) -> NodeUser:
        """Return the caller's numbers, or ordinary ones when the caller is root."""
        uid = os.getuid() if uid is None else uid
        gid = os.getgid() if gid is None else gid
        return cls(uid or _ORDINARY, gid or _ORDINARY)


@dataclass(frozen=True)
class BuildInputs:
    """All that an image's content depends on.

    Args:
        base_image: What the engine calls the base.
        base_id: The base's content.
        wheelhouse_key: The packages.
        python: The nodes' Python.
        user: Who runs there.
        sources: The package's own files: path under the package, and content.
        dockerfile: Its text.
        interpreter: The base's own Python, where that is not ours to choose.

    """

    base_image: str
    base_id: str
    wheelhouse_key: str
    python: str
    user: NodeUser
    sources: tuple[tuple[str, bytes], ...]
    dockerfile: str
    interpreter: str = ""

    @property
    def tag(self) -> str:
        """Name the image after its content."""
        parts = [
            self.base_id,
            self.wheelhouse_key,
            self.python,
            self.user.uid,
            self.user.gid,
            [(name, hashlib.sha256(content).hexdigest()) for name, content in self.sources],
            self.dockerfile,
            *([self.interpreter] if self.interpreter else []),
        ]
        return f"{REPOSITORY}:{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]}"

    def compose_file(self) -> dict[str, object]:
        """Return the Compose file that builds it. Compose has BuildKit where Buildx is missing."""
        args = {"BASE_IMAGE": self.base_image, "PYTHON": self.interpreter}
        if not self.interpreter:
            args = {
                "BASE_IMAGE": self.base_image,
                "PYTHON_VERSION": self.python,
                "NODE_UID": str(self.user.uid),
                "NODE_GID": str(self.user.gid),
            }
        build = {
            "context": ".",
            "network": "none",
            "args": args,
            "labels": {KIND_LABEL: "image", UID_LABEL: str(self.user.uid)},
        }
        return {"services": {"node": {"image": self.tag, "build": build}}}


def read_sources(package: Path) -> Iterator[tuple[str, bytes]]:
    """Yield each file of the package that nodes get, and its content, in a fixed order."""
    for path in sorted(package.rglob("*")):
        relative = path.relative_to(package)
        if path.is_file() and not _left_out(relative):
            yield relative.as_posix(), path.read_bytes()


def stage(folder: Path, inputs: BuildInputs, wheelhouse: Path) -> Path:
    """Lay out the build's folder anew and return its Compose file.

    Wheels are hard links where the file system allows: they are hundreds of megabytes.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_text(inputs.dockerfile)
    link_all(wheelhouse, folder / "wheelhouse")
    for name, content in inputs.sources:
        target = folder / "lib" / "metta_sandbox" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    compose_file = folder / "compose.yaml"
    compose_file.write_text(json.dumps(inputs.compose_file(), indent=1))
    return compose_file


def unused_tags(
    images: Mapping[str, float], containers: Iterable[str], now: float, keep: int = 2
) -> list[str]:
    """Return the tags that may go: without containers, long unasked for, not among the newest.

    Args:
        images: Tags and when each was last asked for, in seconds.
        containers: Tags that containers were made from.
        now: The same clock's present.
        keep: How many of those last asked for stay in any case.

    """
    in_use = set(containers)
    newest = sorted(images, key=lambda tag: images[tag], reverse=True)
    return [
        tag for tag in newest[keep:] if tag not in in_use and now - images[tag] > RESPITE_SECONDS
    ]


def _left_out(relative: Path) -> bool:
    return "__pycache__" in relative.parts or relative.parts[0] == "_compose"


def link_all(source: Path, target: Path) -> None:
    """Make a folder of links to all files of another, or of copies."""
    shutil.copytree(source, target, copy_function=_link)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
