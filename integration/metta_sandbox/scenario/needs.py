"""What a scenario needs of what it is played on, inferred from what it says."""

from __future__ import annotations

from dataclasses import dataclass

from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.steady_state import NodesState

CONTAINERS = "containers"
SIDE_CONTAINERS = "side containers"
GPUS = "GPUs"
#: What engines have, as far as that is known without looking.
_HAVE = {"compose": {CONTAINERS, GPUS, SIDE_CONTAINERS}, "process": {GPUS}}


@dataclass(frozen=True)
class Need:
    """One need.

    Args:
        what: What is needed.
        key: The key of the file that needs it.
        of_all: Whether nothing can be played without it; else what the key asks for is skipped.

    """

    what: str
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
    found = [Need(CONTAINERS, key) for key, said in keys.items() if said]
    if scenario.hardware == "gpu":
        found.append(Need(GPUS, "hardware"))
    found += [
        Need(SIDE_CONTAINERS, f"faults[{index}].{fault.key}")
        for index, fault in enumerate(scenario.faults)
        if fault.said.sidecar
    ]
    found += [
        Need(CONTAINERS, f"faults[{index}].{fault.key}")
        for index, fault in enumerate(scenario.faults)
        if fault.said.in_containers
    ]
    found += [
        Need(CONTAINERS, f"steady_state[{index}].{item.key}.no_way_out")
        for index, item in enumerate(scenario.steady_state)
        if isinstance(item.said, NodesState) and item.said.no_way_out
    ]
    found += [
        Need(SIDE_CONTAINERS, f"expect[{index}].{item.key}", of_all=False)
        for index, item in enumerate(scenario.expect)
        if item.said.watched
    ]
    return tuple(found)


def lacking(scenario: Scenario, engine: str) -> str:
    """Say what an engine lacks that a scenario needs, or nothing.

    Args:
        scenario: What is to be played.
        engine: ``compose`` or ``process``; others are asked for nothing.

    """
    missing = [need for need in needs(scenario) if need.of_all and not has(engine, need.what)]
    if not missing:
        return ""
    return f"the engine {engine} lacks {', '.join(map(str, missing))}"


def has(engine: str, what: str) -> bool:
    """Tell whether an engine has something, as far as that is known; of others, that they do."""
    return what in _HAVE.get(engine, {what})
