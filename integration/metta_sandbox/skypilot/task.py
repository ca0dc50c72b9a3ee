"""A SkyPilot task, typed: read from its file with every field accounted for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metta_sandbox.errors import InputError, Problem
from metta_sandbox.scenario.files import read_text
from metta_sandbox.scenario.overrides import nearest
from metta_sandbox.skypilot import fields
from metta_sandbox.skypilot.reading import Document, read_documents
from metta_sandbox.skypilot.resources import (
    Accelerators,
    Infra,
    accelerators_of,
    first_candidate,
    image_of,
    infra_of,
)

#: Stands for the store of a bucket whose task does not say it.
ANY_STORE = "bucket"

_NAME = re.compile(r"[a-zA-Z0-9]+(?:[._-]{1,2}[a-zA-Z0-9]+)*")
_VARIABLE = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_IN_PATHS = re.compile(r"\$\{?\b([a-zA-Z_][a-zA-Z0-9_]*)\b\}?")
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
#: What in a secret's name says whose it is, where an API server keeps secrets.
_SCOPES = ("secrets:", "personal.", "workspace.", "global.")
#: Parts of a task's paths in which variables are filled in.
#: What git may be asked to check out; options begin with a dash.
_REF = re.compile(r"(?!-)[\w./@+-]{1,250}")
_FILLED_IN = ("file_mounts", "workdir", "volumes", "service")
_KINDS = {
    "text": "text",
    "whole": "a whole number",
    "number": "a number",
    "flag": "true or false",
    "map": "a mapping",
    "list": "a list",
    "nothing": "nothing",
}


@dataclass(frozen=True)
class Mounted:
    """What nodes find at a path.

    Args:
        target: Where, as the task says it: absolute, below ``~/``, or from the working folder.
        source: A local file or folder whose copy is there; of a bucket, what fills it. Or None.
        bucket: The bucket's address, such as ``s3://name/path``, or None.
        shared: Whether all nodes see one folder, rather than a copy each.

    """

    target: str
    source: str | None = None
    bucket: str | None = None
    shared: bool = False


@dataclass(frozen=True)
class Overrides:
    """What the command line, or a scenario, says over a task.

    Args:
        envs: Values of variables.
        secrets: Names of secrets that have a value from elsewhere.

    """

    envs: Mapping[str, str] = field(default_factory=dict)
    secrets: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Task:
    """One task of a file.

    Args:
        name: Its name, or None.
        setup: Its commands before ``run``; may be empty.
        run: Its commands; may be empty.
        num_nodes: How many nodes it asks for.
        envs: Its variables, as exported.
        secrets: Secrets whose values the file itself has.
        asked: Secrets whose values are to come from elsewhere.
        workdir: The folder whose copy each node works in, or None.
        repository: The repository of which each node has a clone in its place: its address, and
            what is checked out.
        mounts: What else nodes find.
        gpus: SKYPILOT_NUM_GPUS_PER_NODE.
        setup_gpus: SKYPILOT_SETUP_NUM_GPUS_PER_NODE.
        accelerator: What they are called.
        image: The image that nodes are made of, or None.
        infra: Where it asked to be played.
        replica: Whether it is a replica of a service.
        ignored: Its fields that are not done here, by the reason.

    """

    name: str | None = None
    setup: str = ""
    run: str = ""
    num_nodes: int = 1
    envs: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    asked: tuple[str, ...] = ()
    workdir: str | None = None
    repository: tuple[str, str | None] | None = None
    mounts: tuple[Mounted, ...] = ()
    gpus: int = 0
    setup_gpus: int = 0
    accelerator: str = ""
    image: str | None = None
    infra: Infra = field(default_factory=Infra)
    replica: bool = False
    ignored: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskFile:
    """What a file holds: tasks, and what a first document says of all of them."""

    path: Path
    tasks: tuple[Task, ...]
    name: str | None = None
    parallel: bool = False


def load(path: Path, overrides: Overrides = Overrides()) -> TaskFile:
    """Read a task file.

    Raises:
        InputError: It can't be read, or says what SkyPilot itself would refuse.

    """
    return parse(read_text(path), path, overrides)


def parse(text: str, path: Path, overrides: Overrides = Overrides()) -> TaskFile:
    """Read the text of a task file; see ``load``."""
    documents = read_documents(text, path)
    problems: list[Problem] = []
    header: Mapping[str, Any] = {}
    if documents and _is_header(documents):
        header, documents = documents[0].data, documents[1:]
    if not documents:
        said = "no task: expected run, or setup"
        raise InputError("the task is wrong", problems=(Problem(path, 1, 1, said),))
    tasks = [_Reader(document, path, overrides, problems).task() for document in documents]
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise InputError(count, problems=tuple(dict.fromkeys(problems)))
    name = header.get("name") or (tasks[0].name if len(tasks) == 1 else None)
    return TaskFile(path, tuple(tasks), name, header.get("execution") == "parallel")


def _is_header(documents: Sequence[Document]) -> bool:
    """Tell whether the first document is none of the tasks."""
    first = documents[0].data
    known = {one.key for one in fields.HEADER}
    if not isinstance(first, Mapping) or not set(map(str, first)) <= known:
        return False
    return len(documents) > 1 and (set(first) <= {"name", "execution"} or "execution" in first)


class _Reader:
    """Reads one document; notes all that is wrong with it."""

    def __init__(
        self, document: Document, path: Path, overrides: Overrides, problems: list[Problem]
    ) -> None:
        self._document = document
        self._path = path
        self._overrides = overrides
        self._problems = problems
        self._ignored: dict[str, list[str]] = {}

    def task(self) -> Task:
        data = self._document.data
        if not isinstance(data, Mapping):
            self._wrong((), "expected a mapping, as in `run: python train.py`")
            return Task()
        before = len(self._problems)
        self._walk(data, (), ())
        if len(self._problems) > before:
            return Task()
        envs = self._envs(data.get("envs") or {})
        secrets, asked = self._secrets(data)
        filled = {key: _filled(data[key], {**envs, **secrets}) for key in _FILLED_IN if key in data}
        data = {**data, **filled}
        name = data.get("name")
        if name is not None and not _NAME.fullmatch(name):
            self._wrong(("name",), "expected letters, digits and single . _ - between them")
        nodes = data.get("num_nodes") or 1
        if data.get("num_nodes") == 0 or nodes < 1:
            self._wrong(("num_nodes",), "expected 1 or more")
        if "service" in data and "pool" in data:
            self._wrong(("pool",), "expected either service or pool")
        resources = first_candidate(data.get("resources") or {})
        accelerators = self._accelerators(resources)
        workdir = data.get("workdir")
        return Task(
            name=name,
            setup=data.get("setup") or "",
            run=data.get("run") or "",
            num_nodes=nodes,
            envs={key: text for key, text in envs.items() if key not in {*secrets, *asked}},
            secrets=secrets,
            asked=asked,
            workdir=workdir if isinstance(workdir, str) else None,
            repository=self._repository(workdir) if isinstance(workdir, Mapping) else None,
            mounts=(*self._mounts(data.get("file_mounts") or {}), *_volumes(data)),
            gpus=accelerators.gpus,
            setup_gpus=accelerators.count,
            accelerator=accelerators.name,
            image=self._image(resources.get("image_id")),
            infra=infra_of(resources),
            replica="service" in data,
            ignored={why: tuple(dict.fromkeys(keys)) for why, keys in self._ignored.items()},
        )

    def _repository(self, said: Mapping[str, Any]) -> tuple[str, str | None] | None:
        url, ref = said.get("url"), said.get("ref")
        if not isinstance(url, str) or not url or url.startswith("-"):
            self._wrong(("workdir", "url"), "expected the address of a git repository")
            return None
        if ref is not None and (not isinstance(ref, str) or not _REF.fullmatch(ref)):
            self._wrong(("workdir", "ref"), "expected a branch, a tag or a commit")
            return None
        return url, ref

    def _wrong(self, path: Sequence[str | int], message: str) -> None:
        line, column = self._document.locate(path)
        shown = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
        said = f"{shown.lstrip('.')}: {message}" if shown else message
        self._problems.append(Problem(self._path, line, column, said))

    def _walk(self, value: Any, path: tuple[str | int, ...], keys: tuple[str, ...]) -> None:
        """Account for everything below a path."""
        if isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, Mapping):
                    self._walk(item, (*path, index), keys)
            return
        for key, inner in value.items():
            below = (*keys, str(key))
            known = fields.find(below)
            if known is None:
                siblings = fields.keys_below(keys)
                near = nearest(str(key), siblings)
                mend = f"did you mean {near}?" if near else f"expected one of {', '.join(siblings)}"
                self._wrong((*path, key), f"unknown key; {mend}")
                continue
            if known.kinds and not any(_is_a(kind, inner) for kind in known.kinds):
                expected = " or ".join(_KINDS[kind] for kind in known.kinds if kind != "nothing")
                empty = "has no value; " if inner is None else ""
                self._wrong((*path, key), f"{empty}expected {expected}")
                continue
            if known.how == "ignored":
                shown = "file_mounts" if keys[:1] == ("file_mounts",) else ".".join(keys)
                named = f"{shown}.{key}".lstrip(".") if keys else str(key)
                self._ignored.setdefault(known.why, []).append(named)
            elif isinstance(inner, (Mapping, list)) and not known.open:
                self._walk(inner, (*path, key), below)

    def _envs(self, given: Mapping[Any, Any]) -> dict[str, str]:
        envs = {}
        for key, value in given.items():
            if not _VARIABLE.fullmatch(str(key)):
                self._wrong(("envs", key), "expected a variable's name: letters, digits and _")
            elif value is not None:
                envs[str(key)] = str(value)
            elif str(key) not in {*self._overrides.envs, *self._overrides.secrets}:
                self._wrong(("envs", key), f'has no value: --env {key}=VALUE, or "" for none')
        return {**envs, **self._overrides.envs}

    def _secrets(self, data: Mapping[str, Any]) -> tuple[dict[str, str], tuple[str, ...]]:
        """Tell secrets whose value the file has from those whose value it asks for."""
        inline: dict[str, str] = {}
        asked: list[str] = []
        for key, value in self._said_secrets(data.get("secrets") or {}).items():
            if value is None:
                asked.append(_bare(str(key)))
            elif str(key).startswith("secrets:"):
                self._wrong(("secrets", key), "a reference has no value")
            elif str(key) not in self._overrides.secrets:
                inline[str(key)] = str(value)
        for entry in data.get("managed_secrets") or ():
            asked += [_bare(str(key)) for key in (entry if isinstance(entry, Mapping) else [entry])]
        for key in (*inline, *asked):
            if not _VARIABLE.fullmatch(key):
                self._wrong(("secrets",), f"{key}: expected a variable's name")
        return inline, tuple(dict.fromkeys(asked))

    def _said_secrets(self, given: Any) -> Mapping[Any, Any]:
        """Take a list of references for a mapping without values."""
        if not isinstance(given, list):
            return dict(given)
        for index, item in enumerate(given):
            if not str(item).startswith("secrets:"):
                self._wrong(("secrets", index), "expected secrets:NAME in a list")
        return {str(item): None for item in given}

    def _accelerators(self, resources: Mapping[str, Any]) -> Accelerators:
        try:
            return accelerators_of(resources)
        except ValueError as error:
            self._wrong(("resources", "accelerators"), str(error))
            return Accelerators()

    def _image(self, said: Any) -> str | None:
        image, other = image_of(said)
        if other:
            why = "only docker:IMAGE is an image of nodes here"
            self._ignored.setdefault(why, []).append("resources.image_id")
        return image

    def _mounts(self, given: Mapping[Any, Any]) -> Iterator[Mounted]:
        for key, said in given.items():
            target = str(key)
            if isinstance(said, str):
                if not said:
                    self._wrong(("file_mounts", key), "expected a path, or a bucket's address")
                yield _copied(target, said)
                continue
            source = said.get("source")
            source = source[0] if isinstance(source, list) and source else source
            mode = str(said.get("mode", "MOUNT")).upper()
            if mode not in {"MOUNT", "COPY", "MOUNT_CACHED"}:
                self._wrong(("file_mounts", key, "mode"), "expected MOUNT, COPY or MOUNT_CACHED")
            name = said.get("name")
            if not name and not source:
                self._wrong(("file_mounts", key), "expected name, or source")
                continue
            shared = mode != "COPY"
            if source and _URL.match(str(source)):
                yield Mounted(target, bucket=str(source), shared=shared)
            else:
                store = str(said.get("store", ANY_STORE)).lower()
                address = f"{store}://{name}" if name else None
                yield Mounted(target, source=source, bucket=address, shared=shared)


def _bare(name: str) -> str:
    for prefix in _SCOPES:
        name = name.removeprefix(prefix)
    return name


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    """Fill variables in, as SkyPilot does: keys as well as values; unknown ones stay."""
    if isinstance(value, Mapping):
        return {_filled(key, variables): _filled(inner, variables) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, variables) for inner in value]
    if not isinstance(value, str):
        return value
    return _IN_PATHS.sub(lambda found: variables.get(found[1], found[0]), value)


def _copied(target: str, source: str) -> Mounted:
    if _URL.match(source):
        return Mounted(target, bucket=source)
    return Mounted(target, source=source)


def _volumes(data: Mapping[str, Any]) -> Iterator[Mounted]:
    for target in data.get("volumes") or {}:
        yield Mounted(str(target), shared=True)
    for one in data.get("volume_mounts") or ():
        if isinstance(one, Mapping) and one.get("path"):
            yield Mounted(str(one["path"]), shared=True)


def _is_a(kind: str, value: Any) -> bool:
    return {
        "text": isinstance(value, str),
        "whole": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, (int, float)) and not isinstance(value, bool),
        "flag": isinstance(value, bool),
        "map": isinstance(value, Mapping),
        "list": isinstance(value, list),
        "nothing": value is None,
    }[kind]


def notes(task: Task, *, gpus: bool = False) -> Iterator[str]:
    """Say of a task what is not done, each reason once, in one line.

    Args:
        task: Which one.
        gpus: Whether nodes have GPUs, so that none is pretended.

    """
    for why, keys in task.ignored.items():
        yield f"ignored: {', '.join(keys)} ({why})"
    if task.gpus and not gpus:
        yield (
            f"{task.gpus} {task.accelerator} on each node are pretended: the variables say so, "
            "and ranks are on the CPU, over gloo"
        )
