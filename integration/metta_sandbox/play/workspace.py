"""The folder that a scenario's own trainer or command works in: a copy, in what nodes share."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from metta_sandbox.image.image_context import NodeUser
from metta_sandbox.play.host_inputs import relative_to_file
from metta_sandbox.scenario.loading import Loaded
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.stack.engines.base import RUN_FOLDER, StackPlan

#: What stays behind: large, of this machine, or of an earlier run.
LEFT_BEHIND = (".git", ".venv", "venv", "__pycache__", ".mypy_cache", "artifacts", "wandb")
_NAME = "workspace"


def place(loaded: Loaded, plan: StackPlan) -> None:
    """Copy a scenario's folder to where its nodes will see it, once or once for each."""
    workload = loaded.scenario.workload
    if workload.skypilot or (plan.source and not workload.folder):
        # See ``task_files``; or the user's own copy is what all work in.
        return
    for name in sorted({folder_of(loaded.scenario, host) for host in plan.hosts} - {""}):
        target = plan.run_folder / name
        if workload.folder and not plan.source:
            source = relative_to_file(loaded.file, workload.folder)
            ignore = leaving(LEFT_BEHIND, plan.folder)
            shutil.copytree(source, target, symlinks=True, ignore=ignore)
            make_writable(target)
        else:
            target.mkdir()
        give(target)


def leaving(patterns: Iterable[str], artifacts: Path) -> Callable[[str, list[str]], set[str]]:
    """Leave behind what is listed, what is no file, and the artifacts: they hold the copy."""
    listed = shutil.ignore_patterns(*patterns)
    ours = {artifacts.resolve(), *artifacts.resolve().parents}

    def ignore(folder: str, names: list[str]) -> set[str]:
        here = Path(folder).resolve()
        left = (name for name in names if here / name in ours or _is_special(here / name))
        return {*(name for name in listed(folder, names) if not _is_code(here / name)), *left}

    return ignore


def _is_code(path: Path) -> bool:
    """Tell whether a folder that is named like what W&B writes is none: a package, or configs."""
    if path.name != "wandb" or not path.is_dir():
        return False
    return not any(path.glob("*run-*")) and not (path / "debug.log").exists()


def _is_special(path: Path) -> bool:
    """Tell whether a path is a pipe, a socket or a device: none of which can be copied."""
    mode = path.lstat().st_mode
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))


def is_live(plan: StackPlan, base: str) -> bool:
    """Tell whether nodes work in the user's own copy; a standing stack's may be another launch's.

    Args:
        plan: Where.
        base: The stack's working folder.

    """
    return plan.source is not None or base not in {str(plan.run_folder), RUN_FOLDER}


def working_folder(scenario: Scenario, plan: StackPlan, base: str, host: str) -> str:
    """Name the folder in which a host's commands start, as the host sees it.

    Args:
        scenario: What is played.
        plan: Where.
        base: The stack's working folder.
        host: The node.

    """
    name = "" if is_live(plan, base) else folder_of(scenario, host)
    return f"{base}/{name}" if name else base


def folder_of(scenario: Scenario, host: str) -> str:
    """Name a host's working folder in what nodes share; empty if it is all of that."""
    if scenario.workload.working_folder == "private":
        return f"{_NAME}-{host}"
    return _NAME if scenario.workload.folder or scenario.workload.fresh_trials else ""


def make_writable(folder: Path) -> None:
    """Let the copy of a read-only folder be written to: programs work in it."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | stat.S_IWUSR)


def give(folder: Path) -> None:
    """Let the node user, who is not root, own what root has copied."""
    if os.geteuid() != 0:
        return
    user = NodeUser.of_caller()
    for path in (folder, *folder.rglob("*")):
        os.chown(path, user.uid, user.gid, follow_symlinks=False)
