"""What nodes of a SkyPilot task find in their homes: working folders, file mounts, buckets."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from metta_sandbox import removing
from metta_sandbox.play.git_workdir import clone
from metta_sandbox.play.workspace import folder_of, give, leaving, make_writable
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.skypilot.ignoring import ignoring
from metta_sandbox.skypilot.played import PlayedMount, SkyPilot
from metta_sandbox.skypilot.scenario import WORKDIR
from metta_sandbox.stack.engines.base import StackPlan
from metta_sandbox.stack.provision import MountSpec

_MOUNTS = "mounts"
#: A repository, until each node has its copy.
_CLONED = "workdir.git"


def with_task_files(scenario: Scenario, plan: StackPlan, *, containers: bool) -> StackPlan:
    """Put what a task brings along where its nodes will see it, and say so in their plan.

    Args:
        scenario: What is played; one without a task leaves the plan as it is.
        plan: The plan, whose shared folder is there, with the nodes' working folders.
        containers: Whether nodes are containers, which have a Python of their own.

    """
    task = scenario.workload.skypilot
    if task is None:
        return plan
    cloned = plan.folder / _CLONED
    if task.repository is not None and plan.source is None:
        clone(*task.repository, cloned)
    shared = {
        index: _put(mount, plan.run_folder / f"{_MOUNTS}-shared" / str(index), plan)
        for index, mount in enumerate(task.mounts)
        if mount.how == "shared"
    }
    own = {}
    for host in plan.hosts:
        workdir = plan.source
        if workdir is None:
            workdir = plan.run_folder / folder_of(scenario, host)
            _make_workdir(task, workdir, plan, cloned)
        found = [MountSpec(workdir, WORKDIR, read_only=False)]
        for index, mount in enumerate(task.mounts):
            place = plan.run_folder / f"{_MOUNTS}-{host}" / str(index)
            source = shared.get(index) or _put(mount, place, plan)
            _make_room(mount, workdir, source)
            found.append(MountSpec(source, mount.target, read_only=False))
        own[host] = tuple(found)
        if containers and plan.source is None:
            # A process of ours owns it as its copy was made; git works in no other's repository.
            give(workdir)
    if cloned.exists():
        removing.remove(plan.folder, _CLONED)
    provision = replace(
        plan.provision,
        own=own,
        writable_python=task.installs and not containers,
        programs=task.programs,
    )
    return replace(plan, provision=provision, variables="skypilot")


def _make_workdir(task: SkyPilot, target: Path, plan: StackPlan, cloned: Path) -> None:
    """Copy a task's working folder for one node; one without has an empty one."""
    if cloned.exists():
        shutil.copytree(cloned, target, symlinks=True)
        make_writable(target)
    elif task.workdir is None:
        target.mkdir()
    else:
        _copy(Path(task.workdir), target, plan.folder)


def _put(mount: PlayedMount, place: Path, plan: StackPlan) -> Path:
    """Make what a mount shows, and return it."""
    if mount.how == "live":
        assert mount.source is not None
        return Path(mount.source)
    if mount.source is None:
        place.mkdir(parents=True)
    else:
        _copy(Path(mount.source), place, plan.folder)
    give(place.parent)
    return place


def _copy(source: Path, target: Path, artifacts: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, ignore=_both(source, artifacts))
        make_writable(target)
    else:
        shutil.copy2(source, target)


def _both(source: Path, artifacts: Path) -> Callable[[str, list[str]], set[str]]:
    """Leave behind what the folder's own files name, and what can't be copied."""
    named, other = ignoring(source), leaving((), artifacts)
    return lambda folder, names: {*named(folder, names), *other(folder, names)}


def _make_room(mount: PlayedMount, workdir: Path, source: Path) -> None:
    """Make the place of a mount that lies in the working folder, which the engine must find."""
    if not mount.target.startswith(f"{WORKDIR}/"):
        return
    place = workdir / mount.target.removeprefix(f"{WORKDIR}/")
    place.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        place.mkdir(exist_ok=True)
