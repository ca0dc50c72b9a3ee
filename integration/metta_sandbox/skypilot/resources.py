"""What a task's ``resources`` come to: first candidate, GPUs, image, and where it asked to be."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Accelerators that count as none in SKYPILOT_NUM_GPUS_PER_NODE.
_NO_GPUS = ("tpu", "inferentia", "trainium")


@dataclass(frozen=True)
class Infra:
    """Where the task asked to be played."""

    cloud: str | None = None
    region: str | None = None
    zone: str | None = None


@dataclass(frozen=True)
class Accelerators:
    """What the first candidate is called, and how many of it each node has."""

    name: str = ""
    count: int = 0

    @property
    def gpus(self) -> int:
        """How many count as GPUs."""
        return 0 if any(one in self.name.lower() for one in _NO_GPUS) else self.count


def first_candidate(resources: Mapping[str, Any]) -> Mapping[str, Any]:
    """Lay the first of the candidates over what all of them share."""
    candidates = resources.get("ordered") or resources.get("any_of") or []
    first = candidates[0] if candidates else {}
    return {**resources, **first} if isinstance(first, Mapping) else resources


def infra_of(resources: Mapping[str, Any]) -> Infra:
    """Read where a task asked to be played; a wildcard says nothing."""
    if said := resources.get("infra"):
        cloud, _, rest = str(said).partition("/")
        region, _, zone = ("", "", "") if _is_kubernetes(cloud) else rest.partition("/")
        region = rest if _is_kubernetes(cloud) else region
        return Infra(*(part if part not in {"", "*"} else None for part in (cloud, region, zone)))
    return Infra(*(resources.get(key) for key in ("cloud", "region", "zone")))


def _is_kubernetes(cloud: str) -> bool:
    return cloud.lower() in {"k8s", "kubernetes"}


def accelerators_of(resources: Mapping[str, Any]) -> Accelerators:
    """Read what the first candidate is called, and how many there are on each node.

    Raises:
        ValueError: There is no such number.

    """
    said = resources.get("accelerators", resources.get("gpus"))
    if isinstance(said, str):
        said = said.strip("{} ").split(",")[0].strip().strip("'\"")
    if isinstance(said, Mapping):
        # What YAML takes for a mapping may be a set, as in {A100:4, V100:8}.
        each = (key if value is None else f"{key}:{value}" for key, value in said.items())
        said = next(each, None)
    if isinstance(said, list):
        said = str(said[0]) if said else None
    if not said:
        return Accelerators()
    name, _, number = said.rpartition(":")
    if not name or re.fullmatch(r"\d+[GgMmTt][Bb]\+?", number):
        return Accelerators(said, 1)
    try:
        count = float(number)
    except ValueError:
        count = 0.0
    if not 0 < count < math.inf:
        raise ValueError(f"expected NAME or NAME:COUNT, got {said!r}")
    return Accelerators(name, math.ceil(count))


def image_of(said: Any) -> tuple[str | None, bool]:
    """Find the container's image, and say whether another one is named that can't be had here."""
    images = said.values() if isinstance(said, Mapping) else [said]
    named = [str(one) for one in images if one is not None]
    docker = [one.removeprefix("docker:") for one in named if one.startswith("docker:")]
    if isinstance(said, Mapping) and "docker" in said and not docker:
        docker = [str(said["docker"])]
    return (docker[0] if docker else None), bool(named and not docker)
