"""What a scenario names on this machine: found, and missed before anything starts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from metta_sandbox.errors import InputError, Problem
from metta_sandbox.image.build import Build
from metta_sandbox.image.requirements import Required, read_requirements
from metta_sandbox.scenario.keys import WAY_OUT, holds_keys
from metta_sandbox.scenario.loading import find_place
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.problems import Location, dotted
from metta_sandbox.scenario.search import LATEST
from metta_sandbox.scenario.untrusted import Untrusted, misfit_of_package
from metta_sandbox.stack.provision import MountSpec, Provision

#: Why a folder, or a file, is refused that nodes or artifacts would get a copy of.
KEYS = f"may hold keys; {WAY_OUT}"


def require_folders(scenarios: Iterable[tuple[Path, Scenario]]) -> None:
    """Make sure that every folder and file that scenarios name is there, and can be read.

    Raises:
        InputError: One is not; all of them are named.

    """
    problems: list[Problem] = []
    for file, scenario in scenarios:
        missing = [
            _problem(scenario, file, keys, f"{path} {lack}")
            for keys, path, lack in _missing(scenario, file)
        ]
        problems += missing
        if not missing:
            try:
                provision(scenario, file)
            except InputError as error:
                problems += error.problems
    if problems:
        hint = "paths are from the file that names them"
        raise InputError("files are missing or wrong", hint, tuple(dict.fromkeys(problems)))


def require_known(scenarios: Iterable[tuple[Path, Scenario]], untrusted: Untrusted) -> None:
    """Make sure that what a stranger's scenarios require comes from an index, as they tell it.

    Raises:
        InputError: Something does not; all of it is named.

    """
    problems: list[Problem] = []
    for file, scenario in scenarios:
        for each in provision(scenario, file).requirements:
            reason = misfit_of_package(each.text)
            if not untrusted.admits(each.file):
                reason = f"is not in {untrusted.repository}"
            if reason:
                said = f"--untrusted: {reason}"
                problems.append(Problem(each.file, each.line, each.column, said))
    if problems:
        raise InputError("packages are refused", problems=tuple(dict.fromkeys(problems)))


def _problem(scenario: Scenario, file: Path, keys: Location, message: str) -> Problem:
    place = find_place(file, keys, scenario.cell)
    return Problem(Path(place.file), place.line, place.column, f"{dotted(keys)}: {message}")


def _missing(scenario: Scenario, file: Path) -> Iterator[tuple[Location, Path, str]]:
    for keys, path, is_there, lack in _named(scenario, file):
        if not _is(is_there, path):
            yield keys, path, lack
        elif "mounts" not in keys and holds_keys(path):
            yield keys, path, KEYS
    earlier = scenario.sweep.resume
    if earlier and earlier != LATEST:
        found = earlier_folder(scenario, file)
        if found is None or holds_keys(found):
            lack = KEYS if found else f"has no scenario {scenario.name} that was played"
            yield ("sweep", "resume"), Path(earlier), lack


def _named(
    scenario: Scenario, file: Path
) -> Iterator[tuple[Location, Path, Callable[[Path], bool], str]]:
    """List what a workload names, each with what it must be, and what to say where it is not."""
    workload = scenario.workload
    if workload.folder:
        yield (
            ("workload", "folder"),
            relative_to_file(file, workload.folder),
            Path.is_dir,
            "is no folder",
        )
    if isinstance(workload.requirements, str):
        path = relative_to_file(file, workload.requirements)
        yield ("workload", "requirements"), path, Path.is_file, "is no file"
    if workload.build:
        context = relative_to_file(file, workload.build.context)
        path = context / workload.build.dockerfile
        yield ("workload", "build"), path, Path.is_file, "is no file"
        yield ("workload", "build"), context, Path.is_dir, "is no folder"
    for index, mount in enumerate(workload.mounts):
        path = relative_to_file(file, mount.source)
        yield ("workload", "mounts", index, "source"), path, Path.exists, "is not there"


def _is(test: Callable[[Path], bool], path: Path) -> bool:
    """Ask something of a path that may be too long for one, or hold a zero byte."""
    try:
        return test(path)
    except (OSError, ValueError):
        return False


def earlier_folder(scenario: Scenario, file: Path) -> Path | None:
    """Find the artifacts of the sweep that a scenario resumes; None if they are not there.

    The path is from the file, or else from where the command runs; of a run, or of a scenario.
    """
    named = scenario.sweep.resume or ""
    places = [relative_to_file(file, named), relative_to_file(Path(), named)]
    found = [folder for place in places for folder in (place, place / scenario.name)]
    played = (path for path in found if _is(Path.is_file, path / "scenario.yaml"))
    return next((path.resolve() for path in played), None)


def relative_to_file(file: Path, path: str) -> Path:
    """Find what a scenario file names: from its own folder, or one's home."""
    return Path(os.path.abspath(file.parent / os.path.expanduser(path)))  # noqa: PTH100, PTH111 - never raise


def provision(
    scenario: Scenario, file: Path, secrets: Mapping[str, str] = MappingProxyType({})
) -> Provision:
    """Find all that a scenario brings along for its nodes.

    Args:
        scenario: Which one.
        file: Where it was read from.
        secrets: Values of its secrets, by name, of which a build may be given some.

    Raises:
        InputError: Its requirements file is wrong.

    """
    workload = scenario.workload
    build = None
    if said := workload.build:
        args = tuple(said.args.items())
        hidden = tuple((name, secrets[name]) for name in said.secrets if name in secrets)
        context = relative_to_file(file, said.context)
        build = Build(context, said.dockerfile, args, said.target, hidden)
    return Provision(
        requirements=_requirements(scenario, file),
        image=workload.image,
        build=build,
        bundled_rollout=workload.run is None,
        mounts=tuple(
            MountSpec(relative_to_file(file, mount.source), mount.target, mount.read_only)
            for mount in workload.mounts
        ),
        way_out=workload.network == "open",
        shared_memory=workload.shared_memory,
        limits=workload.limits,
    )


def _requirements(scenario: Scenario, file: Path) -> tuple[Required, ...]:
    said = scenario.workload.requirements
    if isinstance(said, str):
        return read_requirements(relative_to_file(file, said))
    places = [
        find_place(file, ("workload", "requirements", index), scenario.cell)
        for index in range(len(said or ()))
    ]
    return tuple(
        Required(text, Path(place.file), place.line, place.column)
        for text, place in zip(said or (), places, strict=True)
    )
