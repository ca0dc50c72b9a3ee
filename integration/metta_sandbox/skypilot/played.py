"""What a scenario says of a SkyPilot task, and what the task then says of the scenario."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from metta_sandbox.scenario.base import Part


class TaskFile(Part):
    """A SkyPilot task to be played."""

    file: str = Field(min_length=1, description="The task's YAML file, beside the scenario file.")
    number: int = Field(
        default=1, ge=1, description="Which of the file's tasks, if it has several; from 1."
    )
    folder: str | None = Field(
        default=None,
        min_length=1,
        description="Where the task's relative paths are from, as the folder in which `sky launch` "
        "is called. Default: the task file's.",
    )
    buckets: dict[str, str] = Field(
        default_factory=dict,
        description="Folders of this machine in place of buckets, by address (s3://name) or name. "
        "One that is not named is empty.",
    )
    bare: bool = Field(
        default=False,
        description="Whether the task sees nothing that SkyPilot would not set: no flight "
        "recorder, no offline tracking.",
    )


def _as_file(given: Any) -> Any:
    return {"file": given} if isinstance(given, str) else given


FileOrMore = Annotated[TaskFile, BeforeValidator(_as_file, json_schema_input_type=str | TaskFile)]


def leads_elsewhere(target: str) -> bool:
    """Tell whether a path has a part that leads out of the folder before it."""
    return ".." in PurePosixPath(target).parts


class PlayedMount(Part):
    """What nodes of a task find at a path."""

    target: str = Field(description="Where: absolute, or below ~/.")
    source: str | None = Field(
        default=None, description="The file or folder of this machine; none for an empty folder."
    )
    how: Literal["live", "shared", "own"] = Field(
        description="The source itself (live), a copy that all nodes share, or one for each (own)."
    )

    @field_validator("target")
    @classmethod
    def _stays_on_the_node(cls, value: str) -> str:
        if leads_elsewhere(value) or not value.startswith(("/", "~")):
            raise ValueError("expected a place on the node, absolute or below ~/, without `..`")
        return value


class SkyPilot(Part):
    """A task as it is played; written for it, not by a file's author."""

    name: str | None = Field(default=None, description="The task's name.")
    cluster: str = Field(description="What the cluster is called.")
    job: str | None = Field(default=None, description="What several tasks together are called.")
    tasks: tuple[str, ...] = Field(default=(), strict=False, description="Their names, in order.")
    number: int = Field(default=1, ge=1, description="Which of them this is.")
    parallel: bool = Field(default=False, description="Whether they are a group of jobs.")
    cloud: str = Field(default="Local", description="SKYPILOT_CLUSTER_INFO's cloud.")
    region: str | None = Field(default=None, description="Its region.")
    zone: str | None = Field(default=None, description="Its zone.")
    gpus_per_node: int = Field(default=0, ge=0, description="SKYPILOT_NUM_GPUS_PER_NODE.")
    setup_gpus_per_node: int = Field(
        default=0, ge=0, description="SKYPILOT_SETUP_NUM_GPUS_PER_NODE."
    )
    replica: bool = Field(default=False, description="Whether it is a replica of a service.")
    bare: bool = Field(default=False, description="Whether nothing of ours is added.")
    installs: bool = Field(
        default=False, description="Whether it may install packages, so that it needs its own."
    )
    programs: tuple[str, ...] = Field(
        default=(), strict=False, description="Programs of cluster images that its text names."
    )
    workdir: str | None = Field(default=None, description="The folder whose copy nodes work in.")
    repository: tuple[str, str | None] | None = Field(
        default=None,
        strict=False,
        description="The repository of which nodes have a clone in its place, and its ref.",
    )
    mounts: tuple[PlayedMount, ...] = Field(
        default=(), strict=False, description="What else nodes find."
    )
    notes: tuple[str, ...] = Field(
        default=(), strict=False, description="What is not done as there, and why."
    )
