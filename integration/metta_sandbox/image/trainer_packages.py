"""What a trainer imports beyond what nodes have: found, fetched, and said where it can't be."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from metta_sandbox.errors import InputError, Problem
from metta_sandbox.image import wheelhouse
from metta_sandbox.image.node_platform import NodePlatform
from metta_sandbox.image.present import PresentPackage
from metta_sandbox.image.requirements import RequiredPackage, on_node
from metta_sandbox.image.wheelhouse import ConflictError, RequirementError, Wheelhouse, WheelSpec
from metta_sandbox.progress import Progress


def fetch(
    required: tuple[RequiredPackage, ...],
    present: tuple[PresentPackage, ...],
    platform: NodePlatform,
    progress: Progress,
    *,
    gpu: bool = False,
    cache: Path | None = None,
) -> Wheelhouse | None:
    """Return a wheelhouse of what nodes lack, or None if they have all that is required.

    Raises:
        InputError: pip finds no package for a requirement, and its line is told; or requirements
            exclude each other.
        MachineError: pip found only CUDA builds of torch, or failed, or is missing.

    """
    told = on_node(required, platform)
    spec = WheelSpec(platform, tuple(sorted(told)), gpu=gpu, present=present)
    try:
        house = wheelhouse.ensure(spec, progress, cache)
    except RequirementError as error:
        raise _not_found(error, tuple(told.values())) from error
    except ConflictError as error:
        files = ", ".join(dict.fromkeys(str(each.file) for each in required))
        raise InputError(f"{files}: requirements exclude each other: {error.message}") from error
    return house if any(house.path.glob("*.whl")) else None


def _not_found(error: RequirementError, required: tuple[RequiredPackage, ...]) -> InputError:
    """Say at its place which requirement it was, or which ones led there."""
    name = ""
    with suppress(InvalidRequirement):
        name = str(canonicalize_name(Requirement(error.requirement).name))
    said = [each for each in required if each.name == name]
    message, *details = error.message.splitlines()
    if not said:
        return InputError(f"{message}\nIt is needed by one of the requirements.", error.hint)
    problems = tuple(
        Problem(each.file, each.line, each.column, f"{each.text}: {message.rstrip(':')}")
        for each in said
    )
    return InputError("\n".join(["pip said:", *details] if details else []), error.hint, problems)
