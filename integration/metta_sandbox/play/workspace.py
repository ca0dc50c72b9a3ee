"""The folder that a scenario's own trainer or command works in: a copy, in what nodes share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from metta_sandbox.errors import InputError, Problem
from metta_sandbox.image.build import Build
from metta_sandbox.image.image_context import NodeUser
from metta_sandbox.image.requirements import Required, read_requirements
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.search import LATEST
from metta_sandbox.stack.base import StackPlan
from metta_sandbox.stack.provision import MountSpec, Provision

#: What stays behind: large, of this machine, or of an earlier run.
LEFT_BEHIND = (".git", ".venv", "venv", "__pycache__", ".mypy_cache", "artifacts", "wandb")
_NAME = "workspace"


def require_folders(scenarios: Iterable[tuple[Path, Scenario]]) -> None:
    """Make sure that every folder and file that scenarios name is there, and can be read.

    Raises:
        InputError: One is not; all of them are named.

    """
    problems: list[Problem] = []
    for file, scenario in scenarios:
        missing = [
            Problem(file, 0, 0, f"{key}: {path} {lack}")
            for key, path, lack in _missing(scenario, file)
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


def _missing(scenario: Scenario, file: Path) -> Iterator[tuple[str, Path, str]]:
    workload, earlier = scenario.workload, scenario.sweep.resume
    if earlier and earlier != LATEST and not earlier_folder(scenario, file):
        yield "sweep.resume", Path(earlier), f"has no scenario {scenario.name} that was played"
    if workload.folder and not _is(Path.is_dir, path := beside(file, workload.folder)):
        yield "workload.folder", path, "is no folder"
    if isinstance(workload.requirements, str):
        path = beside(file, workload.requirements)
        if not _is(Path.is_file, path):
            yield "workload.requirements", path, "is no file"
    if workload.build:
        path = beside(file, workload.build.context) / workload.build.dockerfile
        if not _is(Path.is_file, path):
            yield "workload.build", path, "is no file"
    for index, mount in enumerate(workload.mounts):
        if not _is(Path.exists, path := beside(file, mount.source)):
            yield f"workload.mounts[{index}].source", path, "is not there"


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
    places = [beside(file, named), beside(Path(), named)]
    found = [folder for place in places for folder in (place, place / scenario.name)]
    played = (path for path in found if _is(Path.is_file, path / "scenario.yaml"))
    return next((path.resolve() for path in played), None)


def beside(file: Path, path: str) -> Path:
    """Find what a scenario file names: from its own folder, or one's home."""
    return Path(os.path.abspath(file.parent / os.path.expanduser(path)))  # noqa: PTH100, PTH111 - never raise


def provision(scenario: Scenario, file: Path) -> Provision:
    """Find all that a scenario brings along for its nodes.

    Raises:
        InputError: Its requirements file is wrong.

    """
    workload = scenario.workload
    build = None
    if said := workload.build:
        args = tuple(said.args.items())
        build = Build(beside(file, said.context), said.dockerfile, args, said.target)
    return Provision(
        requirements=_requirements(workload.requirements, file),
        image=workload.image,
        build=build,
        bundled_rollout=workload.run is None,
        mounts=tuple(
            MountSpec(beside(file, mount.source), mount.target, mount.read_only)
            for mount in workload.mounts
        ),
        shared_memory=workload.shared_memory,
    )


def _requirements(said: str | tuple[str, ...] | None, file: Path) -> tuple[Required, ...]:
    if isinstance(said, str):
        return read_requirements(beside(file, said))
    return tuple(Required(text, file, index=index) for index, text in enumerate(said or ()))


def place(scenario: Scenario, file: Path, plan: StackPlan) -> None:
    """Copy a scenario's folder to where its nodes will see it, once or once for each."""
    workload = scenario.workload
    for name in sorted({_folder_name(scenario, host) for host in plan.hosts} - {""}):
        target = plan.run_folder / name
        if workload.folder and not plan.source:
            ignore = shutil.ignore_patterns(*LEFT_BEHIND)
            shutil.copytree(beside(file, workload.folder), target, symlinks=True, ignore=ignore)
        else:
            target.mkdir()
        give(target)


def working_folder(scenario: Scenario, plan: StackPlan, base: str, host: str) -> str:
    """Name the folder in which a host's commands start, as the host sees it.

    Args:
        scenario: What is played.
        plan: Where.
        base: The stack's working folder.
        host: The node.

    """
    name = "" if plan.source else _folder_name(scenario, host)
    return f"{base}/{name}" if name else base


def _folder_name(scenario: Scenario, host: str) -> str:
    if scenario.workload.working_folder == "private":
        return f"{_NAME}-{host}"
    return _NAME if scenario.workload.folder else ""


def give(folder: Path) -> None:
    """Let the node user, who is not root, own what root has copied."""
    if os.geteuid() != 0:
        return
    user = NodeUser.of_caller()
    for path in (folder, *folder.rglob("*")):
        os.chown(path, user.uid, user.gid, follow_symlinks=False)
