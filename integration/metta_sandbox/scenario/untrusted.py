"""What a file of somebody whom nobody trusts yet may say: listed keys, some with certain values.

What nodes do with it is the containers' business; here stands what it asks of the machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from ruamel.yaml.nodes import MappingNode, Node

from metta_sandbox.errors import InputError, Problem
from metta_sandbox.scenario.artifacts import Artifacts
from metta_sandbox.scenario.nodes import entry
from metta_sandbox.scenario.problems import Location, dotted
from metta_sandbox.scenario.provision import NodeLimits, misfit_of_requirement
from metta_sandbox.scenario.search import LEAF
from metta_sandbox.scenario.tree import Document, place_of
from metta_sandbox.scenario.units import parse_duration, parse_size
from metta_sandbox.scenario.workload import Workload

#: Keys of a file beside a scenario's own, which are worked in before a scenario is there.
_OF_FILES = ("extends", "variables", "matrix")
_OF_VARIABLES = ("default", "env", "description", "secret")
#: Mappings of names that may be nested, or that are anybody's.
_NESTED = (
    "workload.trainer.overrides.*",
    "sweep.parameters.*",
    "sweep.options.*",
    "services.api.body.*",
)
_MOST_NODES = 8
_MOST_RANKS = 8
_LONGEST_DEADLINE = 3600.0


@dataclass(frozen=True)
class Untrusted:
    """Says what files of a stranger may ask for.

    Args:
        repository: The folder that nothing they name may lie outside of, as ``realpath`` gives it.
        memory: Bytes that a node may take by default.
        variables: The environment's variables that they may have values from.

    """

    repository: Path
    memory: int
    variables: frozenset[str] = frozenset()

    @classmethod
    def here(cls, memory: int, variables: Sequence[str]) -> Untrusted:
        """Take the repository that the command runs in; the working folder, if that is in none."""
        folder = Path(os.path.realpath(Path.cwd()))
        above = (each for each in (folder, *folder.parents) if (each / ".git").exists())
        return cls(next(above, folder), memory, frozenset(variables))

    def environ(self, environ: Mapping[str, str]) -> Mapping[str, str]:
        """Leave the variables that they may have values from."""
        return {name: value for name, value in environ.items() if name in self.variables}

    def admits(self, path: Path) -> bool:
        """Tell whether a path is in the repository, wherever links lead, and none of Git's own."""
        try:
            real = Path(os.path.realpath(path))
        except (OSError, ValueError):
            return False
        return real.is_relative_to(self.repository) and ".git" not in real.parts

    def require(self, path: Path) -> None:
        """Refuse a scenario file outside the repository before it is read.

        Raises:
            InputError: It is one.

        """
        if not self.admits(path):
            raise InputError("1 problem", problems=(Problem(path, 1, 1, self.outside(path)),))

    def outside(self, path: Path | str) -> str:
        """Say that a path is not in the repository."""
        return f"--untrusted: {path} is not in {self.repository}"

    def refused(self, part: MappingNode) -> Iterator[Problem]:
        """Find what a file, or one that it extends, says beside scenarios that is refused."""
        for key, said in part.value:
            name = str(key.value)
            if name not in {*_OF_FILES, *_allowed()}:
                yield _fault(key, (name,), "is not allowed")
            if name == "variables" and isinstance(said, MappingNode):
                for variable, value in said.value:
                    yield from self._faults_of_variable(str(variable.value), value)

    def _faults_of_variable(self, name: str, said: Node) -> Iterator[Problem]:
        if not isinstance(said, MappingNode):
            return
        for key, value in said.value:
            if key.value not in _OF_VARIABLES:
                yield _fault(key, ("variables", name, str(key.value)), "is not allowed")
            elif key.value == "secret" and str(value.value).lower() != "true":
                # What is somebody's credential is not for the file to say.
                yield _fault(value, ("variables", name, "secret"), "false is not allowed")
        named = entry(said, "env")
        if named and named[1].value not in self.variables:
            message = f"{named[1].value} is not allowed; --allow-env gives it"
            yield _fault(named[1], ("variables", name, "env"), message)

    def refusals(self, document: Document, file: Path) -> Iterator[Problem]:
        """Find what a scenario says that is refused.

        Args:
            document: What it says, with all variables and all of the files it extends worked in.
            file: From which its paths are.

        """
        for location, pattern, value in _said(document.data, (), ""):
            known = pattern in _allowed()
            reason = self._misfit(pattern, value, file) if known else "is not allowed"
            if reason:
                place = document.locate(location, key=not known)
                yield place.problem(f"{dotted(location)}: --untrusted: {reason}")

    def _misfit(self, pattern: str, value: Any, file: Path) -> str:
        """Say why a listed key's value is refused, or nothing."""
        if pattern in _PATHS or (pattern == "workload.requirements" and isinstance(value, str)):
            # As the path is found when it is used.
            path = os.path.abspath(file.parent / os.path.expanduser(str(value)))  # noqa: PTH100, PTH111
            return "" if self.admits(Path(path)) else f"{value} is not in {self.repository}"
        if pattern == "workload.requirements" and isinstance(value, list):
            return next(filter(None, map(misfit_of_package, value)), "")
        if pattern == "workload.limits.memory":
            return _above(value, self.memory, parse_size)
        judge = _VALUES.get(pattern)
        return judge(value) if judge else ""


def misfit_of_package(requirement: Any) -> str:
    """Say why a package may not be asked for so, or nothing: it comes as a wheel, from an index."""
    if not isinstance(requirement, str) or misfit_of_requirement(requirement):
        return ""  # which is told already
    from packaging.requirements import Requirement  # noqa: PLC0415 - rarely

    asked = Requirement(requirement)
    return f"{asked.name} comes from an address of its own, not an index" if asked.url else ""


def _only(allowed: object) -> Callable[[Any], str]:
    shown = str(allowed).lower()
    return lambda value: "" if value == allowed else f"expected {shown}"


def _above(value: Any, most: float, read: Callable[[object], float]) -> str:
    """Say that a value is too large; one that can't be read is told elsewhere."""
    try:
        return "" if read(value) <= most else f"expected at most {most:g}"
    except ValueError:
        return ""


def _at_most(
    most: float, read: Callable[[object], float] = lambda value: float(str(value))
) -> Callable[[Any], str]:
    return lambda value: _above(value, most, read)


_PATHS = ("workload.folder", "workload.mounts.source")
_VALUES: Mapping[str, Callable[[Any], str]] = {
    "artifacts.size": _at_most(Artifacts().size, parse_size),
    "artifacts.files": _at_most(Artifacts().files),
    "credentials": _only(allowed=False),
    "hardware": _only("macbook"),
    "nodes": _at_most(_MOST_NODES),
    "deadline": _at_most(_LONGEST_DEADLINE, parse_duration),
    "workload.mounts.read_only": _only(allowed=True),
    "workload.network": _only("sealed"),
    "workload.shared_memory": _at_most(Workload.model_fields["shared_memory"].default, parse_size),
    "workload.limits.processes": _at_most(NodeLimits().processes),
    "workload.limits.files": _at_most(NodeLimits().files),
    "workload.trainer.ranks_per_node": _at_most(_MOST_RANKS),
}


def _fault(node: Node, location: Location, message: str) -> Problem:
    return place_of(node).problem(f"{dotted(location)}: --untrusted: {message}")


@cache
def _allowed() -> frozenset[str]:
    text = (files("metta_sandbox.scenario") / "untrusted.txt").read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def _said(value: Any, location: Location, pattern: str) -> Iterator[tuple[Location, str, Any]]:
    """Give each key that data has, with its pattern and its value; none below one not listed."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _said(item, (*location, index), pattern)
    elif isinstance(value, dict):
        for key, inner in value.items():
            below = _below(pattern, key)
            yield (*location, key), below, inner
            if below in _allowed():
                yield from _said(inner, (*location, key), below)


def _below(pattern: str, key: str) -> str:
    own, any_key = f"{pattern}.{key}".lstrip("."), f"{pattern}.*"
    if own in _allowed() or (pattern in _NESTED and key in LEAF):
        return own
    return pattern if pattern in _NESTED else any_key if any_key in _allowed() else own
