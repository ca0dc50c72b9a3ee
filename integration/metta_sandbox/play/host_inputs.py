"""What a scenario names on this machine: found, and missed before anything starts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from metta_sandbox.errors import InputError, Problem
from metta_sandbox.image.build import ImageBuild
from metta_sandbox.image.requirements import RequiredPackage, read_requirements
from metta_sandbox.scenario.keys import WAY_OUT, holds_keys
from metta_sandbox.scenario.loading import Loaded
from metta_sandbox.scenario.problems import Location, dotted
from metta_sandbox.scenario.search import LATEST
from metta_sandbox.scenario.untrusted import Untrusted, misfit_of_package
from metta_sandbox.stack.provision import MountSpec, Provision

#: Why a folder, or a file, is refused that nodes or artifacts would get a copy of.
KEYS = f"may hold keys; {WAY_OUT}"


def require_folders(scenarios: Iterable[Loaded]) -> None:
    """Make sure that every folder and file that scenarios name is there, and can be read.

    Raises:
        InputError: One is not; all of them are named.

    """
    problems: list[Problem] = []
    for loaded in scenarios:
        missing = [
            loaded.problem(keys, f"{dotted(keys)}: {path} {lack}")
            for keys, path, lack in _missing(loaded)
        ]
        problems += missing
        if not missing:
            try:
                provision(loaded)
            except InputError as error:
                problems += error.problems
    if problems:
        hint = "paths are from the file that names them"
        raise InputError("files are missing or wrong", hint, tuple(dict.fromkeys(problems)))


def require_known(scenarios: Iterable[Loaded], untrusted: Untrusted) -> None:
    """Make sure that what a stranger's scenarios require comes from an index, as they tell it.

    Raises:
        InputError: Something does not; all of it is named.

    """
    problems: list[Problem] = []
    for loaded in scenarios:
        for each in provision(loaded).requirements:
            reason = misfit_of_package(each.text)
            if not untrusted.admits(each.file):
                reason = f"is not in {untrusted.repository}"
            if reason:
                said = f"--untrusted: {reason}"
                problems.append(Problem(each.file, each.line, each.column, said))
    if problems:
        raise InputError("packages are refused", problems=tuple(dict.fromkeys(problems)))


def _missing(loaded: Loaded) -> Iterator[tuple[Location, Path, str]]:
    for keys, path, is_there, lack in _named(loaded):
        if not _is(is_there, path):
            yield keys, path, lack
        elif "mounts" not in keys and holds_keys(path):
            yield keys, path, KEYS
    earlier = loaded.scenario.sweep.resume
    if earlier and earlier != LATEST:
        found = earlier_folder(loaded)
        if found is None or holds_keys(found):
            lack = KEYS if found else f"has no scenario {loaded.scenario.name} that was played"
            yield ("sweep", "resume"), Path(earlier), lack


def _named(loaded: Loaded) -> Iterator[tuple[Location, Path, Callable[[Path], bool], str]]:
    """List what a workload names, each with what it must be, and what to say where it is not."""
    file, workload = loaded.file, loaded.scenario.workload
    if workload.folder:
        path = relative_to_file(file, workload.folder)
        yield ("workload", "folder"), path, Path.is_dir, "is no folder"
    if isinstance(workload.requirements, str):
        path = relative_to_file(file, workload.requirements)
        yield ("workload", "requirements"), path, Path.is_file, "is no file"
    if workload.build:
        context = relative_to_file(file, workload.build.context)
        path = context / workload.build.dockerfile
        yield ("workload", "build"), path, Path.is_file, "is no file"
        yield ("workload", "build"), context, Path.is_dir, "is no folder"
    if task := workload.skypilot:
        if task.workdir:
            yield ("workload", "task"), Path(task.workdir), Path.is_dir, "is no folder (workdir)"
        for mounted in task.mounts:
            if mounted.source:
                lack = f"is not there (file_mounts.{mounted.target})"
                yield ("workload", "task"), Path(mounted.source), Path.exists, lack
    for index, mount in enumerate(workload.mounts):
        path = relative_to_file(file, mount.source)
        yield ("workload", "mounts", index, "source"), path, Path.exists, "is not there"


def _is(test: Callable[[Path], bool], path: Path) -> bool:
    """Ask something of a path that may be too long for one, or hold a zero byte."""
    try:
        return test(path)
    except (OSError, ValueError):
        return False


def earlier_folder(loaded: Loaded) -> Path | None:
    """Find the artifacts of the sweep that a scenario resumes; None if they are not there.

    The path is from the file, or else from where the command runs; of a run, or of a scenario.
    """
    named = loaded.scenario.sweep.resume or ""
    places = [relative_to_file(loaded.file, named), relative_to_file(Path(), named)]
    found = [folder for place in places for folder in (place, place / loaded.scenario.name)]
    played = (path for path in found if _is(Path.is_file, path / "scenario.yaml"))
    return next((path.resolve() for path in played), None)


def relative_to_file(file: Path, path: str) -> Path:
    """Find what a scenario file names: from its own folder, or one's home."""
    return Path(os.path.abspath(file.parent / os.path.expanduser(path)))  # noqa: PTH100, PTH111 - never raise


def provision(loaded: Loaded, secrets: Mapping[str, str] = MappingProxyType({})) -> Provision:
    """Find all that a scenario brings along for its nodes.

    Args:
        loaded: Which one.
        secrets: Values of its secrets, by name, of which a build may be given some.

    Raises:
        InputError: Its requirements file is wrong.

    """
    file, workload = loaded.file, loaded.scenario.workload
    build = None
    if said := workload.build:
        args = tuple(said.args.items())
        hidden = tuple((name, secrets[name]) for name in said.secrets if name in secrets)
        context = relative_to_file(file, said.context)
        build = ImageBuild(context, said.dockerfile, args, said.target, hidden)
    return Provision(
        requirements=_requirements(loaded),
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


def _requirements(loaded: Loaded) -> tuple[RequiredPackage, ...]:
    said = loaded.scenario.workload.requirements
    if isinstance(said, str):
        return read_requirements(relative_to_file(loaded.file, said))
    places = [
        loaded.locate(("workload", "requirements", index)) for index in range(len(said or ()))
    ]
    return tuple(
        RequiredPackage(text, Path(place.file), place.line, place.column)
        for text, place in zip(said or (), places, strict=True)
    )
