"""What a scenario needs beside its nodes, and whether those may be another's, too. Pure."""

from __future__ import annotations

from metta_sandbox.scenario.model import Scenario
from metta_sandbox.stack.sidecar_service import WATCHER, SidecarService


def why_isolated(scenario: Scenario, *, source: bool = False, credentials: bool = False) -> str:
    """Say why a scenario's nodes must be its own; an empty string if they need not.

    Args:
        scenario: What is to be played.
        source: Whether nodes see a working copy of the user's.
        credentials: Whether they see the caller's credentials, also if the scenario asks for none.

    """
    workload = scenario.workload
    reasons = {
        "it has faults": scenario.faults,
        "it runs a setup": workload.setup,
        "it plays a task": workload.skypilot,
        "they are of an image of its own": workload.image or workload.build,
        "they have packages of its own": workload.requirements,
        "they have a way out": workload.network == "open",
        "they see files of this machine": workload.mounts or source,
        "they see credentials": scenario.credentials or credentials,
        "they have GPUs": scenario.hardware == "gpu",
        "they are watched": sidecars(scenario),
        "they have a W&B of their own": scenario.services.serves_wandb,
        "one that is lost may come back": scenario.on_node_failure == "rejoin",
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def sidecars(scenario: Scenario) -> tuple[SidecarService, ...]:
    """List the containers that a scenario needs beside each node, each once."""
    watched = any(item.said.watched for item in scenario.expect)
    return (WATCHER,) if watched else ()
