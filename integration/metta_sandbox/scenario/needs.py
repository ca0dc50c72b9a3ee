"""What a scenario needs of what it is played on, inferred from what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from metta_sandbox.scenario.abilities import Ability
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.steady_state import NodesState


class Able(Protocol):
    """Whatever scenarios are played on."""

    @property
    def name(self) -> str:
        """The engine's name."""
        ...

    @property
    def has(self) -> frozenset[Ability]:
        """What the engine can do."""
        ...


@dataclass(frozen=True)
class Need:
    """Something that a scenario needs of its engine.

    Args:
        what: What is needed.
        key: The key of the file that needs it.
        of_all: Whether nothing can be played without it; else what the key asks for is skipped.

    """

    what: Ability
    key: str
    of_all: bool = True

    def __str__(self) -> str:
        return f"{self.what} ({self.key}{'' if self.of_all else ', else skipped'})"


def needs(scenario: Scenario) -> tuple[Need, ...]:
    """List what a scenario needs beyond what every engine has."""
    workload = scenario.workload
    keys = {
        "workload.image": workload.image is not None,
        "workload.build": workload.build is not None,
        "workload.mounts": bool(workload.mounts),
    }
    if workload.skypilot:
        keys |= {
            f"file_mounts.{mount.target}": mount.target.startswith("/")
            for mount in workload.skypilot.mounts
        }
    found = [Need(Ability.CONTAINERS, key) for key, said in keys.items() if said]
    if scenario.hardware == "gpu":
        found.append(Need(Ability.GPUS, "hardware"))
    found += [
        Need(Ability.SIDE_CONTAINERS, f"faults[{index}].{fault.key}")
        for index, fault in enumerate(scenario.faults)
        if fault.said.sidecar
    ]
    found += [
        Need(Ability.CONTAINERS, f"faults[{index}].{fault.key}")
        for index, fault in enumerate(scenario.faults)
        if fault.said.in_containers
    ]
    found += [
        Need(Ability.CONTAINERS, f"steady_state[{index}].{item.key}.no_way_out")
        for index, item in enumerate(scenario.steady_state)
        if isinstance(item.said, NodesState) and item.said.no_way_out
    ]
    found += [
        Need(Ability.SIDE_CONTAINERS, f"expect[{index}].{item.key}", of_all=False)
        for index, item in enumerate(scenario.expect)
        if item.said.watched
    ]
    return tuple(found)


def lacking(scenario: Scenario, engine: Able) -> str:
    """Say what an engine lacks that a scenario needs, or nothing."""
    missing = [need for need in needs(scenario) if need.of_all and need.what not in engine.has]
    if not missing:
        return ""
    return f"the engine {engine.name} lacks {', '.join(map(str, missing))}"
