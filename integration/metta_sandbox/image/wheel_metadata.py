"""What wheels need, as a node would see it.

pip's ``--python-version`` and ``--platform`` choose wheels, but it evaluates markers such as
``python_version < "3.12"`` for the interpreter it runs under. So what a node needs beyond that is
worked out here, and asked for in a further round.
"""

from __future__ import annotations

import importlib.metadata
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from metta_sandbox.image.node_platform import NodePlatform


@dataclass(frozen=True)
class Wheel:
    """One wheel: its file, normalised name, version, and what it requires."""

    file: str
    name: str
    version: str
    requires: tuple[str, ...]


def read_wheel(path: Path) -> Wheel:
    """Read a wheel's metadata (the core metadata specification).

    Raises:
        ValueError: It has none.

    """
    fields = HeaderParser().parsestr(read_metadata(path))
    return Wheel(
        file=path.name,
        name=canonicalize_name(fields["Name"]),
        version=fields["Version"],
        requires=tuple(fields.get_all("Requires-Dist") or ()),
    )


def read_metadata(path: Path) -> str:
    """Read the text of a wheel's metadata.

    Raises:
        ValueError: It has none.

    """
    with zipfile.ZipFile(path) as archive:
        names = [
            name
            for name in archive.namelist()
            if name.count("/") == 1 and name.endswith(".dist-info/METADATA")
        ]
        if not names:
            raise ValueError(f"{path.name} has no METADATA")
        return archive.read(names[0]).decode()


def applicable(requirements: Iterable[str], platform: NodePlatform) -> tuple[str, ...]:
    """Return the requirements that apply on a node, without their markers."""
    chosen = _applicable(requirements, frozenset(), platform.markers())
    return tuple(_plain(requirement) for requirement in chosen)


def own_requirements(
    platform: NodePlatform, extras: Iterable[str] = ("node", "api")
) -> tuple[str, ...]:
    """Return what this package itself needs on a node, without markers, sorted."""
    declared = importlib.metadata.requires("metta-sandbox") or []
    chosen = _applicable(declared, frozenset(extras), platform.markers())
    return tuple(sorted(_plain(requirement) for requirement in chosen))


@dataclass(frozen=True)
class WheelClosure:
    """The wheels that given requirements lead to, and the requirements that nothing answers."""

    wheels: tuple[Wheel, ...]
    missing: tuple[str, ...]


def closure(
    requirements: Iterable[str], wheels: Mapping[str, Wheel], platform: NodePlatform
) -> WheelClosure:
    """Follow requirements through the metadata of ``wheels`` (by name), as a node would."""
    environment = platform.markers()
    todo = [Requirement(text) for text in requirements]
    seen: dict[str, frozenset[str]] = {}
    missing: set[str] = set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        wheel = wheels.get(name)
        if wheel is None:
            missing.add(_plain(requirement))
            continue
        extras = seen.get(name, frozenset()) | requirement.extras
        if name in seen and extras == seen[name]:
            continue
        seen[name] = extras
        todo += _applicable(wheel.requires, extras, environment)
    found = tuple(wheels[name] for name in sorted(seen))
    return WheelClosure(found, tuple(sorted(missing)))


def _applicable(
    texts: Iterable[str], extras: frozenset[str], environment: Mapping[str, str]
) -> list[Requirement]:
    requirements = [Requirement(text) for text in texts]
    return [
        requirement
        for requirement in requirements
        if requirement.marker is None
        or any(
            requirement.marker.evaluate({**environment, "extra": extra}) for extra in extras | {""}
        )
    ]


def _plain(requirement: Requirement) -> str:
    """Write a requirement that has been found to apply without its marker."""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    source = f" @ {requirement.url}" if requirement.url else str(requirement.specifier)
    return f"{requirement.name}{extras}{source}"
