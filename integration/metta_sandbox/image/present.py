"""Packages that an environment has already, shown to pip so that it does not fetch them again.

pip chooses what is to be downloaded without looking at what a node has. So it is given a wheel
without content for each package that is there: same name, version and requirements, and a tag and
a build number that no other wheel of that version goes before. What comes of them is left out.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from metta_sandbox.image.node_platform import NEWEST_GLIBC_MINOR, NodePlatform
from metta_sandbox.image.wheel_metadata import read_metadata

#: A build number that no real wheel has; of equal wheels pip takes the one with the highest.
_BUILD = "999999999"


@dataclass(frozen=True, order=True)
class PresentPackage:
    """A package that is there: its normalised name, its version, its core metadata."""

    name: str
    version: str
    metadata: str

    @classmethod
    def of(cls, metadata: str) -> PresentPackage:
        """Read a package from its core metadata."""
        fields = HeaderParser().parsestr(metadata, headersonly=True)
        return cls(canonicalize_name(fields["Name"]), fields["Version"], metadata)


def in_wheelhouse(folder: Path) -> tuple[PresentPackage, ...]:
    """List the packages of a wheelhouse."""
    return tuple(sorted(PresentPackage.of(read_metadata(path)) for path in folder.glob("*.whl")))


def write_stubs(present: Iterable[PresentPackage], folder: Path, platform: NodePlatform) -> None:
    """Write a wheel without content for each package."""
    python = f"cp{platform.python.replace('.', '')}"
    tag = f"{python}-{python}-manylinux_2_{NEWEST_GLIBC_MINOR}_{platform.architecture}"
    for each in present:
        stem = f"{each.name.replace('-', '_')}-{each.version}"
        with zipfile.ZipFile(folder / f"{stem}-{_BUILD}-{tag}.whl", "w") as archive:
            info = f"{stem}.dist-info"
            archive.writestr(f"{info}/METADATA", each.metadata)
            archive.writestr(
                f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n"
            )
            archive.writestr(f"{info}/RECORD", "")


def is_stub(file: str) -> bool:
    """Tell whether a wheel is without content, by its file's name."""
    return f"-{_BUILD}-" in file


def pins(present: Iterable[PresentPackage], requirements: Iterable[str]) -> str:
    """Write constraints that keep what is there, but for what a requirement asks otherwise."""
    asked = [Requirement(text) for text in requirements]
    others = {
        (canonicalize_name(each.name))
        for each in asked
        for one in present
        if canonicalize_name(each.name) == one.name
        and (each.url or not each.specifier.contains(one.version, prereleases=True))
    }
    return "".join(f"{one.name}=={one.version}\n" for one in present if one.name not in others)
