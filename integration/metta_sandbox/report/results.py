"""``results.json``: what a run came to, for programs that read it.

Times are seconds. Numbers that JSON cannot write (a score that is NaN) are null.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from metta_sandbox.autopsy.cause import Cause
from metta_sandbox.errors import InputError
from metta_sandbox.masking import masked_data, masker
from metta_sandbox.verdict import Verdict

FILE_NAME = "results.json"
SCHEMA_FILE = Path(__file__).with_name("results.schema.json")


class _Result(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        ser_json_inf_nan="null",
        json_schema_serialization_defaults_required=True,
    )


class TrialResult(_Result):
    """One trial of a sweep."""

    run: str = Field(description="The run's name, or empty if it never got one.")
    status: str = Field(description="completed, failed or pending.")
    score: float | None = Field(default=None, description="The sweep's metric, as evaluated.")
    cost: float | None = Field(default=None, description="What the search was told it cost.")
    overrides: dict[str, Any] = Field(default_factory=dict, description="By dotted key.")
    seconds: float | None = Field(default=None, description="From suggestion to observation.")
    pruned: bool = Field(
        default=False, description="Whether the strategy ended it early, with the score it had."
    )


class FaultResult(_Result):
    """One fault that a scenario asks for."""

    name: str = Field(description="Which fault it is.")
    kind: str = Field(default="", description="Its kind, as the scenario names it.")
    fired: bool = Field(description="Whether it was set off.")
    proven: bool = Field(default=False, description="Whether a probe saw all that shows it.")
    proof: str = Field(description="What was seen before, during and after it.")
    late: float | None = Field(
        default=None,
        ge=0,
        description="Seconds from its moment until it struck: 0 if whoever told of the moment "
        "waited for it; null where that is not known.",
    )


class CheckResult(_Result):
    """One thing that had to hold."""

    name: str = Field(description="What was checked.")
    verdict: Verdict = Field(description="How it came out.")
    detail: str = Field(default="", description="What was expected, what was seen, and where.")
    expected: str = Field(default="", description="What must hold.")
    seen: str = Field(default="", description="What was seen, or why nothing could be told.")
    where: tuple[str, ...] = Field(
        default=(), description="What shows it: `file` or `file:line` in the scenario's folder."
    )
    asked_by: str = Field(
        default="",
        description="The scenario's key that asks for it, such as expect[0]; empty for what "
        "always must hold.",
    )
    warning: str = Field(
        default="", description="What is worth a look although it holds; it decides nothing."
    )
    seconds: float = Field(default=0, ge=0, description="How long it took to judge.")


class Timings(_Result):
    """How long the phases around the sweep took; null for one that was never reached."""

    up: float | None = Field(default=None, description="Until every node was ready.")
    first_trial: float | None = Field(
        default=None, description="From the sweep's start until its first trial was over."
    )
    down: float | None = Field(default=None, description="Taking the stack down.")


class LeftOutFile(_Result):
    """Something that nodes wrote, and that is not among the artifacts."""

    file: str = Field(description="Where it was in the scenario's folder.")
    why: str = Field(description="What it was, or which limit it was beyond.")


class LeftOut(_Result):
    """What nodes wrote, and what is not among the artifacts."""

    count: int = Field(default=0, ge=0, description="How many files and folders.")
    files: tuple[LeftOutFile, ...] = Field(
        default=(), description="Which, of many the first thousand."
    )


class ScenarioResult(_Result):
    """One scenario that was played, or could not be."""

    name: str = Field(description="The scenario's name.")
    file: str = Field(description="Where it was read from.")
    verdict: Verdict = Field(description="How it came out.")
    reason: str = Field(default="", description="Why it did not pass; empty if it did.")
    engine: str = Field(description="What it was played on: compose or process.")
    nodes: int = Field(ge=0, description="How many nodes took part.")
    seconds: float = Field(ge=0, description="How long it took, all in all.")
    trials: tuple[TrialResult, ...] = Field(default=(), description="In the order they began.")
    faults: tuple[FaultResult, ...] = Field(default=(), description="Those it asked for.")
    checks: tuple[CheckResult, ...] = Field(default=(), description="All that were evaluated.")
    causes: tuple[Cause, ...] = Field(
        default=(), description="What went wrong first, of each trial that failed, and of the end."
    )
    left_out: LeftOut = Field(
        default_factory=LeftOut,
        description="What nodes wrote that was not kept: links, pipes, and what was too much.",
    )
    timings: Timings = Field(default_factory=Timings, description="Phases around the sweep.")


class RunResult(_Result):
    """One call of ``metta-sandbox run``. Without scenarios it could not even start."""

    version: Literal[1] = Field(default=1, description="The version of this format.")
    run: str = Field(description="The run's id, which is its folder's name.")
    verdict: Verdict = Field(description="The worst of its scenarios'.")
    reason: str = Field(default="", description="Why not all was played; empty if all was.")
    engine: str = Field(description="compose or process; empty if none was chosen yet.")
    seconds: float = Field(ge=0, description="How long it took, all in all.")
    scenarios: tuple[ScenarioResult, ...] = Field(default=(), description="As they were played.")


Outcome = TypeVar("Outcome", bound=_Result)


def hidden(result: Outcome) -> Outcome:
    """Give the same result with every secret masked."""
    if not masker():
        return result
    return type(result).model_validate(masked_data(result.model_dump()))


def write(result: RunResult, folder: Path) -> Path:
    """Write ``results.json`` into a folder, whole or not at all; give its path."""
    return write_text(folder / FILE_NAME, result.model_dump_json(indent=2) + "\n")


def read(path: Path) -> RunResult:
    """Read what ``write`` wrote, from the file or from its folder.

    Raises:
        InputError: There is no such file, or it is not a run's results.

    """
    path = path / FILE_NAME if path.is_dir() else path
    try:
        return RunResult.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"no results in {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path} is not a run's results: {where}: {first['msg']}") from error


def schema() -> str:
    """Write the JSON Schema of ``results.json``."""
    made = RunResult.model_json_schema(mode="serialization")
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps({"$schema": dialect, **made}, indent=2) + "\n"


def write_text(path: Path, text: str) -> Path:
    """Write a file so that a reader finds the old one or the whole new one."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path
