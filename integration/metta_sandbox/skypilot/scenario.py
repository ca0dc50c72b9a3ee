"""A scenario that names a SkyPilot task becomes one that says what the task does."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from metta_sandbox.errors import InputError
from metta_sandbox.scenario.keys import lies_beside
from metta_sandbox.scenario.overrides import nearest
from metta_sandbox.scenario.provision import misfit_of_target
from metta_sandbox.skypilot.played import PlayedMount, SkyPilot, TaskFile, leads_elsewhere
from metta_sandbox.skypilot.task import ANY_STORE, Mounted, Overrides, Task, load, notes
from metta_sandbox.skypilot.task import TaskFile as Loaded

WORKDIR = "~/sky_workdir"
#: What of a workload a task says itself.
_THE_TASKS = (
    *("run", "setup", "trainer", "folder", "working_folder", "fresh", "requirements"),
    *("build", "skypilot"),
)
#: Commands that install packages, for which a node must have an environment of its own.
_INSTALLS = re.compile(r"\b(?:pip3?|uv|conda|poetry)\b|-m venv")
#: Programs of cluster images that our own image of nodes has not.
_PROGRAMS = re.compile(
    r"\b(curl|git|rsync|ping|ps|pgrep|pkill|top|free|uptime|ssh|scp|ssh-keygen|sudo)\b"
)
_BUCKET = re.compile(r"(?P<store>[^:]+)://(?P<name>[^/]+)/?(?P<below>.*)")
#: How SkyPilot writes the clouds whose names are not just capitalised.
_CLOUDS = {"aws": "AWS", "gcp": "GCP", "oci": "OCI", "ibm": "IBM", "scp": "SCP", "do": "DO"}
_CLOUDS |= {"k8s": "Kubernetes", "runpod": "RunPod", "vsphere": "Vsphere", "ssh": "SSH"}

#: What is wrong: the keys of the scenario that lead to it, and what would be right.
Fault = tuple[tuple[str | int, ...], str]


@dataclass(frozen=True)
class WithTask:
    """A scenario's data with its task worked in.

    Args:
        data: The data.
        secrets: Values of secrets that the task's file has, by what the data refers to them with.
        faults: What is wrong with it.

    """

    data: dict[str, Any]
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    faults: tuple[Fault, ...] = ()


def has_task(data: Any) -> bool:
    """Tell whether a scenario's data names a task that is not worked in yet."""
    workload = data.get("workload") if isinstance(data, Mapping) else None
    return isinstance(workload, Mapping) and "task" in workload and "skypilot" not in workload


def with_task(data: Mapping[str, Any], path: Path) -> WithTask:
    """Work the task in that a scenario names.

    Args:
        data: The scenario's; one whose ``task`` is no such thing is left as it is.
        path: Where the scenario is, from which its paths are.

    Raises:
        InputError: The task's file is wrong; every problem is listed with its place in that file.

    """
    workload, whole = dict(data["workload"]), dict(data)
    said = workload["task"]
    try:
        asked = TaskFile.model_validate({"file": said} if isinstance(said, str) else said)
    except ValidationError:
        return WithTask(whole)
    faults: list[Fault] = [
        (("workload", key), "the task says this itself") for key in _THE_TASKS if key in workload
    ]
    env, secrets = workload.get("env") or {}, whole.get("secrets") or {}
    if not isinstance(env, Mapping) or not isinstance(secrets, Mapping):
        return WithTask(whole)
    file = _found(path, asked.file)
    given = Overrides({str(key): str(text) for key, text in env.items()}, frozenset(secrets))
    loaded = _loaded(file, path, given)
    if isinstance(loaded, str):
        return WithTask(whole, faults=((("workload", "task"), loaded),))
    if asked.number > len(loaded.tasks):
        count = len(loaded.tasks)
        faults.append((("workload", "task", "number"), f"the file has {count} of them"))
    if faults:
        return WithTask(whole, faults=tuple(faults))
    task = loaded.tasks[asked.number - 1]
    faults += [
        (("workload", "task"), f"file_mounts.{mounted.target}: expected the place without `..`")
        for mounted in task.mounts
        if leads_elsewhere(mounted.target)
    ]
    if faults:
        return WithTask(whole, faults=tuple(faults))
    base = _found(path, asked.folder) if asked.folder else file.parent
    mounts = [_mount(mounted, base, path, asked) for mounted in task.mounts]
    played = _played(loaded, task, asked, base, whole, mounts)
    faults += [
        (("workload", "task"), f"file_mounts.{mount.target}: {message}")
        for mount in played.mounts
        if mount.target.startswith("/") and (message := misfit_of_target(mount.target))
    ]
    references = {name: f"task.{name}" for name, text in task.secrets.items() if text}
    whole |= {
        "workload": {**workload, **_workload(task, asked, played, secrets, references)},
        "nodes": whole.get("nodes", task.num_nodes),
    }
    if task.image and "image" not in workload:
        whole["workload"]["image"] = task.image
    if task.asked:
        whole["secrets"] = {**{name: {} for name in task.asked}, **secrets}
    values = {reference: task.secrets[name] for name, reference in references.items()}
    return WithTask(whole, values, tuple(faults))


def _loaded(file: Path, scenario: Path, given: Overrides) -> Loaded | str:
    """Read a task's file, or say why that can't be done or shown.

    Raises:
        InputError: It is wrong; every problem is listed with its place in it.

    """
    try:
        return load(file, given)
    except InputError as error:
        if not any(problem.line for problem in error.problems):
            return _unread(error)
        if lies_beside(file, scenario):
            raise
        return f"{file} is wrong; what a file outside the scenario's repository says is not shown"


def _workload(
    task: Task,
    asked: TaskFile,
    played: SkyPilot,
    secrets: Mapping[str, Any],
    references: Mapping[str, str],
) -> dict[str, Any]:
    """Say what a task does in a workload's own words; of secrets it has references alone."""
    return {
        "task": asked.model_dump(),
        "skypilot": played.model_dump(),
        "env": {
            **{name: text for name, text in task.envs.items() if name not in secrets},
            **{name: "" for name, text in task.secrets.items() if not text},
            **{name: f"${{{reference}}}" for name, reference in references.items()},
        },
        "setup": task.setup,
        # One without commands only makes a cluster.
        "run": task.run or ":",
        "working_folder": "private",
    }


def _unread(error: InputError) -> str:
    """Say why a file can't be read, of which no place can be told."""
    return "; ".join(problem.message for problem in error.problems) or error.message


def _played(
    loaded: Loaded,
    task: Task,
    asked: TaskFile,
    base: Path,
    scenario: Mapping[str, Any],
    mounts: list[tuple[PlayedMount, str]],
) -> SkyPilot:
    names = [one.name or f"task-{place}" for place, one in enumerate(loaded.tasks, 1)]
    cloud = (task.infra.cloud or "local").lower()
    text = f"{task.setup}\n{task.run}"
    has_gpus = scenario.get("hardware") == "gpu"
    return SkyPilot(
        name=task.name,
        cluster=str(scenario.get("name", "task")),
        job=loaded.name or loaded.path.stem,
        tasks=tuple(names),
        number=asked.number,
        parallel=loaded.parallel,
        cloud=_CLOUDS.get(cloud, cloud.capitalize()),
        region=task.infra.region,
        zone=task.infra.zone,
        gpus_per_node=task.gpus,
        setup_gpus_per_node=task.setup_gpus,
        replica=task.replica,
        bare=asked.bare,
        installs=_INSTALLS.search(text) is not None,
        programs=tuple(sorted(set(_PROGRAMS.findall(text)))),
        workdir=str(_found_from(base, task.workdir)) if task.workdir else None,
        repository=task.repository and (_place(base, task.repository[0]), task.repository[1]),
        mounts=tuple(mount for mount, _ in mounts),
        notes=(
            *notes(task, gpus=has_gpus),
            *_of_the_file(loaded),
            *(note for _, note in mounts if note),
            *_unused(loaded, asked.buckets),
        ),
    )


def _place(base: Path, url: str) -> str:
    """Find a repository that is a folder from the task file, as other folders are."""
    found = _found_from(base, url) if "://" not in url else None
    return str(found) if found is not None and found.is_dir() else url


def _of_the_file(loaded: Loaded) -> Iterator[str]:
    if len(loaded.tasks) > 1:
        yield (
            f"{len(loaded.tasks)} tasks in {loaded.path.name}: each is played on nodes of its own, "
            "one after another"
        )


def _mount(mounted: Mounted, base: Path, path: Path, asked: TaskFile) -> tuple[PlayedMount, str]:
    """Find what nodes see at a path, and what is to be said of it."""
    target = _target(mounted.target)
    how: Literal["shared", "own"] = "shared" if mounted.shared else "own"
    if mounted.source and not mounted.bucket:
        return PlayedMount(
            target=target, source=str(_found_from(base, mounted.source)), how=how
        ), ""
    if not mounted.bucket:
        return PlayedMount(target=target, how=how), f"{target} is an empty folder of all nodes"
    if folder := _folder_of(mounted.bucket, asked.buckets):
        source = _found(path, folder)
        return PlayedMount(
            target=target, source=str(source), how="live" if mounted.shared else "own"
        ), ""
    if mounted.source:
        source = _found_from(base, mounted.source)
        return PlayedMount(target=target, source=str(source), how=how), ""
    note = (
        f"{mounted.bucket} at {target} is an empty folder; --bucket {mounted.bucket}=DIR fills it"
    )
    return PlayedMount(target=target, how=how), note


def _folder_of(address: str, buckets: Mapping[str, str]) -> str | None:
    """Find the folder that was given in place of a bucket, and what of it is meant."""
    key = _key_of(address, buckets)
    if key is None:
        return None
    found = None if key == address else _BUCKET.fullmatch(address)
    return posixpath.join(buckets[key], found["below"]) if found else buckets[key]


def _key_of(address: str, buckets: Iterable[str]) -> str | None:
    """Find by which of its names a bucket was given a folder."""
    if address in buckets:
        return address
    found = _BUCKET.fullmatch(address)
    if found is None:
        return None
    for key in (f"{found['store']}://{found['name']}", found["name"]):
        if key in buckets:
            return key
    # A store that was not named is any.
    if found["store"] == ANY_STORE:
        return next((key for key in buckets if key.endswith(f"://{found['name']}")), None)
    return None


def _unused(loaded: Loaded, buckets: Mapping[str, str]) -> Iterator[str]:
    """Name the buckets with a folder that no mount of any task of the file shows."""
    addresses = [one.bucket for task in loaded.tasks for one in task.mounts if one.bucket]
    used = {_key_of(address, buckets) for address in addresses}
    by_name = {_name_of(address): _without_path(address) for address in addresses}
    for key in buckets:
        if key not in used:
            near = nearest(_name_of(key), by_name)
            others = (
                f"expected one of {', '.join(by_name.values())}" if by_name else "none uses one"
            )
            mend = f"did you mean {by_name[near]}?" if near else others
            yield f"--bucket {key}: no mount uses it; {mend}"


def _name_of(address: str) -> str:
    found = _BUCKET.fullmatch(address)
    return found["name"] if found else address


def _without_path(address: str) -> str:
    """Give a bucket's address as ``--bucket`` takes it; one of any store is a name."""
    found = _BUCKET.fullmatch(address)
    if found is None or found["store"] == ANY_STORE:
        return _name_of(address)
    return f"{found['store']}://{found['name']}"


def _target(said: str) -> str:
    target = posixpath.normpath(said)
    if target == "~" or target.startswith(("/", "~/")):
        return target
    return f"{WORKDIR}/{target}"


def _found(path: Path, said: str) -> Path:
    """Find what a scenario names: from its own folder, or one's home."""
    return _found_from(path.parent, said)


def _found_from(folder: Path, said: str) -> Path:
    return Path(os.path.abspath(folder / os.path.expanduser(said)))  # noqa: PTH100, PTH111 - never raise
