"""What a workload brings along for its nodes: packages, an image or its build, mounts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from metta_sandbox.scenario.base import Misfit, Part, misfit
from metta_sandbox.scenario.units import Size

#: What a container needs where it is. Nothing may be put over it, or over what it lies in.
NEEDED = (
    *("/mnt/s3/train_dir", "/workspace", "/opt/metta", "/home/metta", "/tmp"),  # noqa: S108
    *("/proc", "/sys", "/dev", "/etc", "/usr/bin", "/usr/lib", "/usr/local/bin", "/usr/local/lib"),
    *("/bin", "/sbin", "/lib", "/lib64"),
)
#: And these, nothing may be put into: they are the sandbox's or the kernel's own.
CLOSED = ("/mnt/s3/train_dir", "/workspace", "/opt/metta", "/proc", "/sys", "/dev")
#: Where credentials are seen, if they are asked for.
CREDENTIALS = tuple(
    f"/home/metta/{name}" for name in (".netrc", ".metta", ".config", ".ssh", ".aws")
)


def _as_text(given: Any) -> Any:
    if not isinstance(given, Mapping):
        return given
    return {
        name: str(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool)
        else value
        for name, value in given.items()
    }


Environment = Annotated[
    dict[str, str],
    BeforeValidator(_as_text, json_schema_input_type=dict[str, str | int | float]),
]


def misfit_of_requirement(text: str) -> str | None:
    """Say why a line is no requirement of pip's (PEP 508), or None if it is one."""
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415 - rarely

    try:
        Requirement(text)
    except InvalidRequirement:
        return f"expected a requirement such as einops>=0.8, got {text[:60]!r}"
    return None


def _requirements(given: Any) -> Any:
    if isinstance(given, str) and given:
        return given
    if not isinstance(given, (list, tuple)) or not all(isinstance(item, str) for item in given):
        raise ValueError("expected the path of a requirements file, or a list of requirements")
    faults: list[Misfit] = [
        ((index,), message)
        for index, text in enumerate(given)
        if (message := misfit_of_requirement(text))
    ]
    if faults:
        raise misfit(faults)
    return tuple(given)


#: The path of a requirements file, or requirements.
Requirements = Annotated[
    str | tuple[str, ...], BeforeValidator(_requirements, json_schema_input_type=str | list[str])
]


class ImageBuild(Part):
    """An image that is built when the scenario is played."""

    context: str = Field(
        min_length=1, description="The folder it is built from, beside the scenario file."
    )
    dockerfile: str = Field(
        default="Dockerfile", min_length=1, description="Its Dockerfile, from that folder."
    )
    args: Environment = Field(default_factory=dict, description="Values of its ARGs.")
    target: str | None = Field(
        default=None, min_length=1, description="The stage to stop at. Default: the last."
    )
    secrets: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        default=(),
        description="Names among the scenario's secrets, for RUN --mount=type=secret,id=NAME.",
    )


def _as_build(given: Any) -> Any:
    return {"context": given} if isinstance(given, str) else given


BuildOrFolder = Annotated[
    ImageBuild, BeforeValidator(_as_build, json_schema_input_type=str | ImageBuild)
]


class Mount(Part):
    """A file or folder of this machine that every node sees."""

    source: str = Field(
        min_length=1, description="What is seen, beside the scenario file; ~ is one's home."
    )
    target: str = Field(description="Where nodes see it: a whole path.")
    read_only: bool = Field(default=True, description="Whether nodes can't change it.")

    @field_validator("target")
    @classmethod
    def _shadows_nothing(cls, value: str) -> str:
        if message := misfit_of_target(value):
            raise ValueError(message)
        return value


class NodeLimits(Part):
    """What one node may take of the machine it runs on."""

    processes: int = Field(
        default=4096, ge=64, le=2**22, description="Processes and threads. Containers only."
    )
    memory: Size | None = Field(
        default=None,
        ge=64 * 2**20,
        description="Memory; what takes more is killed. Default: four fifths of the machine's. "
        "Containers only.",
    )
    files: int = Field(
        default=65536, ge=256, le=2**20, description="Open files of each of its processes."
    )


def misfit_of_target(target: str) -> str | None:
    """Say why nothing can be mounted at a path, or None if it can."""
    path = PurePosixPath(target)
    if not target.startswith("/") or target.startswith("//") or ".." in path.parts:
        return "expected a whole path, as in /data"
    for needed in (*NEEDED, *CREDENTIALS):
        if path == PurePosixPath(needed) or path in PurePosixPath(needed).parents:
            return f"expected another place: nodes need their own {needed}"
    for closed in CLOSED:
        if PurePosixPath(closed) in path.parents:
            return f"expected another place: {closed} is the sandbox's own"
    return None


def doubled_targets(mounts: Iterable[Mount]) -> list[Misfit]:
    """Find the mounts at a place that an earlier one has."""
    seen: set[str] = set()
    faults: list[Misfit] = []
    for index, mount in enumerate(mounts):
        target = mount.target.rstrip("/")
        if target in seen:
            faults.append(((index, "target"), f"{target} is given twice"))
        seen.add(target)
    return faults
