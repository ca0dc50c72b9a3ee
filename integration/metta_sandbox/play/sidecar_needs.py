"""What a scenario needs beside its nodes, brought together from all that it says."""

from __future__ import annotations

from metta_sandbox.scenario.model import Scenario
from metta_sandbox.stack.sidecar_service import WATCHER, SidecarService


def sidecars(scenario: Scenario) -> tuple[SidecarService, ...]:
    """List the containers that a scenario needs beside each node, each once."""
    watched = any(item.said.watched for item in scenario.expect)
    return (WATCHER,) if watched else ()
