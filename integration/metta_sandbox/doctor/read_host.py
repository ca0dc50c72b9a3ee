"""What is read from this machine. Nothing is judged here."""

from __future__ import annotations

import ast
import getpass
import grp
import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from metta_sandbox.doctor.probe import Deadline
from metta_sandbox.errors import MachineError
from metta_sandbox.image.node_platform import NodePlatform
from metta_sandbox.image.pip_client import find_pip
from metta_sandbox.image.wheelhouse import WheelSpec
from metta_sandbox.resources import compose_folder
from metta_sandbox.stack.engines.process.node_python import MODULES, made_python, suitable_python

_PYPI = "https://pypi.org"
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True)
class Host:
    """This machine.

    Args:
        family: ``debian``, ``ubuntu``, ``fedora``, ``arch``, ``alpine``, ``suse``, ``macos``, or
            an empty string for any other.
        root: Whether the user is root.
        systemd: Whether services are started by systemd.
        user: Its name, or its number.
        groups: The user's groups, by name.
        programs: Those of the programs asked about that are on the PATH.
        environ: The variables that change what Docker does.

    """

    family: str = ""
    root: bool = False
    systemd: bool = False
    user: str = "$USER"
    groups: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    environ: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Memory:
    """This machine's memory, in bytes.

    Args:
        total: What there is, or what this process may use if that is less.
        available: What can be had without swapping; None where that is not told.

    """

    total: int
    available: int | None


@dataclass(frozen=True)
class Packages:
    """Where the nodes' packages come from.

    Args:
        made: Whether the wheelhouse is there.
        pip: The command that makes one; empty if there is no pip.
        sources: Where it looks, without anything that may be secret.

    """

    made: bool
    pip: str
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class PythonFound:
    """What nodes run on where they are local processes.

    Args:
        here: The version of the Python that runs this.
        complete: Whether it has all that a node imports.
        suitable: A Python that an environment for nodes can be made with, or an empty string.

    """

    here: str
    complete: bool
    suitable: str


@dataclass(frozen=True)
class StackReading:
    """Whether it can be seen where in its code a local process stands.

    Args:
        python: The nodes' interpreter; empty if their environment is yet to be made.
        problem: Why no stack can be read, or an empty string.

    """

    python: str
    problem: str = ""


_FAMILIES = {
    "ubuntu": "ubuntu",
    "debian": "debian",
    "fedora": "fedora",
    "rhel": "fedora",
    "centos": "fedora",
    "arch": "arch",
    "alpine": "alpine",
    "suse": "suse",
    "opensuse": "suse",
}


def read_host() -> Host:
    """Read who the caller is, and what this machine is."""
    groups = [_group(number) for number in {os.getgid(), *os.getgroups()}]
    programs = [name for name in ("docker-compose", "mmdebstrap") if shutil.which(name)]
    return Host(
        family=_family(),
        root=os.geteuid() == 0,
        systemd=Path("/run/systemd/system").is_dir(),
        user=_user(),
        groups=tuple(groups),
        programs=tuple(programs),
        environ={k: v for k, v in os.environ.items() if k in ("DOCKER_BUILDKIT", "DOCKER_HOST")},
    )


def _family() -> str:
    if sys.platform == "darwin":
        return "macos"
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return ""
    return family_of(release)


def family_of(release: Mapping[str, str]) -> str:
    """Name the family of a distribution by its ``os-release``, the nearest relative first."""
    names = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    return next((_FAMILIES[name] for name in names if name in _FAMILIES), "")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name
        return str(os.getuid())


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def read_memory() -> Memory:
    """Look at how much memory there is."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in map(Path, _CGROUP_LIMITS):
        if path.is_file() and (text := path.read_text().strip()).isdigit():
            total = min(total, int(text))
    return Memory(total, _available())


def _available() -> int | None:
    path = Path("/proc/meminfo")
    match = re.search(r"MemAvailable:\s+(\d+) kB", path.read_text()) if path.is_file() else None
    return int(match[1]) * 1024 if match else None


def wheelhouse_key(architecture: str) -> str:
    """Name the wheelhouse that nodes on such an engine need.

    Raises:
        MachineError: There is none for that architecture, or this installation is incomplete.

    """
    constraints = compose_folder() / "constraints.txt"
    return WheelSpec.for_nodes(NodePlatform.of_engine(architecture), constraints).key


def read_packages(deadline: Deadline, architecture: str) -> Packages:
    """Look for the wheelhouse of nodes on such an engine, and for the pip that would make it."""
    wheelhouse = user_cache_path("metta-sandbox") / "wheelhouse"
    made = (wheelhouse / wheelhouse_key(architecture)).is_dir()
    try:
        pip = find_pip()
    except MachineError:
        return Packages(made, "")
    said = deadline.ask(*pip, "config", "list", "--disable-pip-version-check")
    return Packages(made, " ".join(pip), pip_sources(said.checked("pip config list")))


def pip_sources(config: str) -> tuple[str, ...]:
    """Tell where pip looks, from ``pip config list``: hosts and folders, no paths, no passwords."""
    settings: dict[str, list[str]] = {}
    # Variables go over files; not every pip puts them first.
    for line in sorted(config.splitlines(), key=lambda one: not one.startswith(":env:")):
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2]
        settings.setdefault(option, str(ast.literal_eval(value)).split())
    sources = settings.get("find-links", [])
    if settings.get("no-index", ["0"])[0].lower() not in ("1", "true", "yes", "on"):
        sources = [
            *settings.get("index-url", [_PYPI]),
            *settings.get("extra-index-url", []),
            *sources,
        ]
    return tuple(dict.fromkeys(map(without_secrets, sources)))


def without_secrets(url: str) -> str:
    """Keep of a URL what can't be secret: mirrors take tokens as user, password, path and query."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme == "file":
        return url
    return f"{scheme}://" + re.split(r"[/?#]", rest.rpartition("@")[2])[0]


def read_python() -> PythonFound:
    """Look for a Python that nodes can run on as local processes."""
    complete = all(importlib.util.find_spec(module) for module in MODULES)
    try:
        suitable, _ = suitable_python()
    except MachineError:
        suitable = ""
    return PythonFound(platform.python_version(), complete, suitable)


def read_stacks(deadline: Deadline) -> StackReading:
    """Try to read a stack as it is read of nodes that are local processes."""
    python = made_python()
    if python is None:
        return StackReading("")
    said = deadline.ask(python, "-m", "metta_sandbox.node.agent.stacks")
    return StackReading(python, said.checked("reading a stack").strip())
