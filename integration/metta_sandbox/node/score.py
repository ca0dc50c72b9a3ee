"""How good a trial was, found where the scenario says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from metta_sandbox import beneath
from metta_sandbox.errors import SandboxError
from metta_sandbox.matching import Matcher, UnmatchedError
from metta_sandbox.scenario.workload import ScoreSource
from metta_sandbox.wandb_file import WandbFileError, read_run, written_by_ranks


class NoScoreError(SandboxError):
    """A trial left no score where it is looked for."""


@dataclass(frozen=True)
class TrialOutput:
    """What a trial has left on rank 0's node.

    Args:
        folder: The trial's folder.
        cwd: The folder its trainers worked in.
        began: When it began, in seconds since the epoch.
        told: The last value of each field of its ``train.step`` and ``train.finished`` events.

    """

    folder: Path
    cwd: Path
    began: float
    told: Mapping[str, Any]


def find_score(score: ScoreSource, metric: str, left: TrialOutput) -> float:
    """Find a trial's score, wherever but in a checkpoint.

    Args:
        score: Where to look.
        metric: What the score is called, unless ``score`` says otherwise.
        left: Where that is.

    Raises:
        NoScoreError: It is not there, or no number; the text says where it was looked for.

    """
    key = score.key or metric
    if score.source == "none":
        return 0.0
    if score.source == "event":
        return _number(left.told.get(key), f"{key} in train.step or train.finished events")
    if score.source == "log":
        return _from_log(score.pattern or "", left)
    if score.source == "json":
        return _from_json(score.path or "", key, left)
    return _from_wandb(score.rank, key, left)


def _from_log(pattern: str, left: TrialOutput) -> float:
    path, found = left.folder / "rank-0.log", ""
    try:
        with beneath.open_file(left.folder, path, most=None) as file:
            for match in Matcher().matches([pattern], file, text=True):
                found = match.group or ""
    except OSError as error:
        raise NoScoreError(f"no score: {path.name}: {error.strerror}") from None
    except UnmatchedError as error:
        line = f"{path.name}:{error.index + 1}"
        asked = "workload.trainer.score.pattern"
        raise NoScoreError(f"no score: {line}: {error.message} ({asked}); {error.hint}") from None
    where = f"a line of {path.name} that matches '{pattern}'"
    if not found:
        raise NoScoreError(f"no score: expected {where}, saw none")
    return _number(found, where)


def _from_json(name: str, key: str, left: TrialOutput) -> float:
    name = Template(name).safe_substitute(METTA_TRIAL_DIR=str(left.folder))
    candidates = [left.cwd / name, left.folder / name]
    fresh = [path for path in candidates if path.is_file() and path.stat().st_mtime >= left.began]
    if not fresh:
        stale = (
            " (there is one, older than the trial)" if any(map(Path.is_file, candidates)) else ""
        )
        raise NoScoreError(f"no score: expected the file {name} in {left.cwd}{stale}")
    try:
        content = json.loads(fresh[0].read_bytes())
    except ValueError as error:
        raise NoScoreError(f"no score: {name} is not JSON: {error}") from None
    return _number(_inside(content, key), f"{key} in {name}")


def _from_wandb(rank: int | None, key: str, left: TrialOutput) -> float:
    whose = "" if rank is None else f" of rank {rank}"
    where = f"{key} in the summary of a W&B run{whose} in $WANDB_DIR"
    files = written_by_ranks(left.folder, left.folder)
    told: list[_Told] = []
    for path, writer in files.items():
        try:
            run = read_run(left.folder, path)
        except (OSError, WandbFileError) as error:
            raise NoScoreError(f"no score: {path.name}: {error}") from None
        if rank in {None, writer} and (value := _inside(run.summary, key)) is not None:
            told.append(_Told(writer, value, run.started, path))
    last = [one for one in told if not any(one.is_before(other) for other in told)]
    if len({repr(one.value) for one in last}) > 1:
        several = ", ".join(sorted(map(str, last)))
        raise NoScoreError(
            f"no score: W&B runs of the trainer's tell different values of {key}: {several}; "
            "workload.trainer.score.rank says whose counts"
        )
    return _number(last[0].value if last else None, where if files else f"{where}; there is none")


@dataclass(frozen=True)
class _Told:
    """The value that a W&B run has for the score."""

    rank: int | None
    value: Any
    started: float
    path: Path

    def is_before(self, other: _Told) -> bool:
        """Whether the same rank has begun another run since this one was over."""
        return self.rank == other.rank and self.path.stat().st_mtime < other.started

    def __str__(self) -> str:
        who = "some rank" if self.rank is None else f"rank {self.rank}"
        value = f"{self.value:g}" if isinstance(self.value, float) else repr(self.value)
        return f"{who} {value} ({self.path.stem})"


def _inside(content: Any, key: str) -> Any:
    """Find a value by its key as it stands, or else level by level along its dots."""
    if isinstance(content, Mapping) and key in content:
        return content[key]
    for part in key.split("."):
        content = content.get(part) if isinstance(content, Mapping) else None
    return content


def _number(value: Any, where: str) -> float:
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            raise NoScoreError(f"no score: {value!r} is no number ({where})") from None
    seen = "none" if value is None else repr(value)
    raise NoScoreError(f"no score: expected {where}, saw {seen}")
