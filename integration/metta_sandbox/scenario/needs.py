"""What a scenario needs of what it is played on, inferred from what it says."""

from __future__ import annotations

from dataclasses import dataclass

from metta_sandbox.scenario.model import Scenario

CONTAINERS = "containers"
GPUS = "GPUs"
#: What engines have, as far as that is known without looking.
_HAVE = {"compose": {CONTAINERS, GPUS}, "process": {GPUS}}


@dataclass(frozen=True)
class Need:
    """One need: what, and the key of the file that has it."""

    what: str
    key: str

    def __str__(self) -> str:
        return f"{self.what} ({self.key})"


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
    return tuple(found)


def lacking(scenario: Scenario, engine: str) -> str:
    """Say what an engine lacks that a scenario needs, or nothing.

    Args:
        scenario: What is to be played.
        engine: ``compose`` or ``process``; others are asked for nothing.

    """
    have = _HAVE.get(engine)
    missing = [need for need in needs(scenario) if have is not None and need.what not in have]
    if not missing:
        return ""
    return f"the engine {engine} lacks {', '.join(map(str, missing))}"
