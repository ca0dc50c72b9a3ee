"""``metta-sandbox launch task.yaml``: a SkyPilot task, or several, on nodes of their own."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from metta_sandbox.errors import InputError
from metta_sandbox.play import run as playing
from metta_sandbox.play.options import Options
from metta_sandbox.report.console import Reporter
from metta_sandbox.scenario.loading import Loaded
from metta_sandbox.scenario.loading import parse as parse_scenario
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.skypilot.task import Overrides, load

_EXAMPLE = "metta-sandbox launch task.yaml --num-nodes 2 --env NAME=VALUE"
#: A task may take, and be silent for, much longer than a scenario; SkyPilot knows no bounds.
_LIMITS = {"deadline": "24h", "longest_silence": "30m"}


@dataclass(frozen=True)
class Asked:
    """What the command line says of a task.

    Args:
        nodes: How many nodes; the task's ``num_nodes`` if None.
        env: Variables over its ``envs``.
        secrets: Names of secrets that have values.
        buckets: Folders in place of buckets.
        bare: Whether nothing of ours is added.

    """

    nodes: int | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    buckets: Mapping[str, str] = field(default_factory=dict)
    bare: bool = False


def is_task(words: Sequence[str]) -> bool:
    """Tell whether what is launched is a task's file."""
    return bool(words) and Path(words[0]).suffix in {".yaml", ".yml"}


def read_env(words: Iterable[str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Read what ``--env`` says: ``NAME=VALUE``, or ``NAME``, whose value the environment has.

    Raises:
        InputError: One says something else.

    """
    given = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not re.fullmatch(r"[A-Za-z_]\w*", name) or (not equals and name not in environ):
            raise InputError(f"--env {name}: expected NAME=VALUE, or NAME of the environment")
        given[name] = value if equals else environ[name]
    return given


def read_buckets(words: Iterable[str]) -> dict[str, str]:
    """Read what ``--bucket`` says: ``s3://NAME=DIR``.

    Raises:
        InputError: One says something else, or there is no such folder.

    """
    given = {}
    for word in words:
        name, equals, folder = word.partition("=")
        if not equals or not name or not Path(folder).expanduser().is_dir():
            message = f"--bucket {word}: expected a bucket's address, = and a folder that is there"
            raise InputError(message, "as in: --bucket s3://data=./data")
        given[name] = os.path.abspath(os.path.expanduser(folder))  # noqa: PTH100, PTH111 - as typed
    return given


def read_task(words: Sequence[str], asked: Asked) -> Iterator[Scenario]:
    """Make a scenario of each task in a file; paths in it are from where the command runs.

    Raises:
        InputError: The file can't be read, or says something wrong.

    """
    if len(words) > 1:
        raise InputError(f"{words[1]}: a task's file has no more words behind it", _EXAMPLE)
    path = Path(words[0])
    loaded = load(path, Overrides(asked.env, frozenset(asked.secrets)))
    for number, task in enumerate(loaded.tasks, 1):
        name = task.name or path.stem
        data: dict[str, Any] = {
            "version": 1,
            "name": re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:64] or "task",
            **_LIMITS,
            "workload": {
                "task": {
                    "file": str(path),
                    "number": number,
                    "folder": ".",
                    "buckets": dict(asked.buckets),
                    "bare": asked.bare,
                },
                "env": dict(asked.env),
            },
            "secrets": {name: {} for name in asked.secrets},
        }
        if asked.nodes is not None:
            data["nodes"] = asked.nodes
        text = io.StringIO()
        YAML(typ="safe", pure=True).dump(data, text)
        yield parse_scenario(text.getvalue(), Path("launch"))


def play(words: Sequence[str], asked: Asked, options: Options, reporter: Reporter) -> int:
    """Play a file's tasks one after another, until one fails; returns the exit status.

    Raises:
        SandboxError: Nothing can be played.

    """
    status = 0
    for scenario in list(read_task(words, asked)):
        one = replace(options, given=(Loaded(scenario, Path("launch")),))
        status = playing.run(one, reporter)
        if status:
            break
    return status
