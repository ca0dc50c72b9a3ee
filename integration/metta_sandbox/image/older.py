"""Whether pip would choose a newer version than wheels alone lead to, and why it could not here.

Only wheels are downloaded: to find out what a source distribution needs, pip runs its code. So
where a version has none, pip goes on to older ones, without a word. What it would take if it were
let is found out by the versions that the index lists.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from metta_sandbox.image.node_platform import NodePlatform
from metta_sandbox.image.pip_client import PipResult
from metta_sandbox.image.wheel_metadata import Wheel, applicable

#: Says how a download ends: of all that is asked for and this, or of this alone.
Attempt = Callable[[str, bool], PipResult]
_VERSIONS = re.compile(r"^Available versions: (.*)$", re.MULTILINE)
_AT_ONCE = 4


@dataclass(frozen=True)
class OlderVersion:
    """A package of which there would be a newer version, but for what has no wheel.

    Args:
        name: The package.
        version: What came.
        newer: What pip would choose.
        lacking: What has no wheel: that version, or what it needs.

    """

    name: str
    version: str
    newer: str
    lacking: str


def find_older(
    wheels: Iterable[Wheel],
    asked: Sequence[Requirement],
    pip: Sequence[str],
    platform: NodePlatform,
    attempt: Attempt,
) -> OlderVersion | None:
    """Find a package that came in an older version than pip would choose; None if none did.

    Args:
        wheels: What came.
        asked: What was asked for, and all constraints.
        pip: Its command.
        platform: The nodes'.
        attempt: Downloads wheels of a further requirement, beside all others or alone.

    """
    came = {wheel.name: wheel for wheel in wheels}
    needed = [Requirement(text) for w in came.values() for text in applicable(w.requires, platform)]
    allowed: dict[str, SpecifierSet] = {}
    for each in (*asked, *needed):
        key = canonicalize_name(each.name)
        allowed[key] = allowed.get(key, SpecifierSet()) & each.specifier
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda name: versions(name, pip, platform), came)
        there = dict(zip(came, found, strict=True))
    # What somebody needs may be old because of who needs it, so those who need it come first.
    for name, wheel in sorted(came.items(), key=lambda pair: _is_needed(pair[0], needed)):
        fitting = allowed.get(name, SpecifierSet()).filter(there[name])
        newer = max(fitting, default=Version(wheel.version))
        if newer <= Version(wheel.version):
            continue
        wanted = f"{name}=={newer}"
        if attempt(wanted, True).without_wheel():
            return OlderVersion(name, wheel.version, str(newer), wanted)
        lacking = attempt(wanted, False).without_wheel()
        if not lacking:
            continue
        source = Requirement(lacking)
        listed = source.specifier.filter(versions(source.name, pip, platform))
        # A constraint may keep a wheel out, and so choose the older version as pip would.
        if any(listed) and attempt(lacking, True).without_wheel():
            return OlderVersion(name, wheel.version, str(newer), lacking)
    return None


def _is_needed(name: str, needed: Iterable[Requirement]) -> bool:
    return any(canonicalize_name(each.name) == name for each in needed)


def versions(name: str, pip: Sequence[str], platform: NodePlatform) -> list[Version]:
    """List the versions that pip finds for the nodes, by whatever distribution."""
    options = [word for word in platform.pip_options() if not word.startswith("--only-binary")]
    done = subprocess.run(
        [*pip, "index", "versions", "--no-input", *options, name],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    found = _VERSIONS.search(done.stdout)
    return [Version(text.strip()) for text in found[1].split(",")] if found else []
