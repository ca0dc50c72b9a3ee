"""Faults of files that a sweep lives by."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from metta_sandbox.scenario.faults.base import Family, FaultKind, Triggered


class Corrupt(FaultKind):
    """A file of a trial, such as its checkpoint or its overrides, is damaged."""

    key: ClassVar[str] = "corrupt"
    family: ClassVar[Family] = "files"
    healing: ClassVar[str] = "the file is as it was, unless somebody has written it anew"
    must_heal: ClassVar[bool] = False
    proof: ClassVar[str] = "the file's size and digest, before and after"
    voids: ClassVar[frozenset[str]] = frozenset({"checkpoints"})
    example: ClassVar[str] = (
        "{corrupt: {file: checkpoint.pt, how: half}, when: {event: checkpoint.saved, trial: 1}}"
    )

    file: str = Field(min_length=1, description="Its name in the folder of the trigger's trial.")
    how: Literal["half", "empty", "garbage"] = Field(
        default="half",
        description="Half of it is there, nothing is, or bytes in its middle are others.",
    )

    @field_validator("file")
    @classmethod
    def _is_inside(cls, value: str) -> str:
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or not path.name:
            raise ValueError("expected a file's name, or a path from the trial's folder")
        return value

    def __str__(self) -> str:
        words = {"half": "half written", "empty": "emptied", "garbage": "overwritten in part"}
        return f"{self.file} is {words[self.how]}"


class WandbFolder(FaultKind):
    """The folder of W&B's runs can't be written to."""

    key: ClassVar[str] = "wandb_folder"
    family: ClassVar[Family] = "files"
    trigger: ClassVar[Triggered] = "may"
    healing: ClassVar[str] = "the folder is as it was"
    proof: ClassVar[str] = "a file could be made in it, can't, and can again"
    voids: ClassVar[frozenset[str]] = frozenset({"W&B runs"})
    example: ClassVar[str] = "{wandb_folder: {}, when: {event: suggestion.made, trial: 2}}"

    def __str__(self) -> str:
        return "W&B's folder can't be written to"
