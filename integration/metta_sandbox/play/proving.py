"""What can be shown only while nodes are still there, for expectations that are judged later."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from metta_sandbox.checks.evidence import LoadProof
from metta_sandbox.play.node_commands import Executed
from metta_sandbox.play.steady import Execute
from metta_sandbox.probes import source
from metta_sandbox.scenario.expect.kinds.checkpoint import LOAD_PROOF
from metta_sandbox.scenario.model import Scenario

#: Seconds that the first node gets to import torch and to load what trials left.
PATIENCE = 120.0


def wanted(scenario: Scenario) -> list[str]:
    """List the names of the checkpoints that must be loadable."""
    return list(dict.fromkeys(file for item in scenario.expect if (file := item.said.loads)))


def prove(scenario: Scenario, python: str, execute: Execute, folder: Path) -> None:
    """Let the first node load the checkpoints of all trials, and keep what it said.

    Args:
        scenario: What was played.
        python: The nodes' interpreter.
        execute: Runs a command on nodes.
        folder: The scenario's artifacts.

    """
    if not (names := wanted(scenario)):
        return
    host = scenario.hosts[0]
    command = [python, "-c", source("load_checkpoints"), *names]
    ends = execute("checkpoints", {host: command}, PATIENCE)
    (folder / LOAD_PROOF).write_text(read(ends, host).model_dump_json(indent=2) + "\n")


def read(ends: Mapping[str, Executed], host: str) -> LoadProof:
    """Read what the node said; what it did not come to is no proof."""
    end = ends[host]
    files = {
        str(each["file"]): str(each.get("problem", "")) for each in end.answers if "file" in each
    }
    said = next((str(each["problem"]) for each in end.answers if "file" not in each), "")
    problem = end.problem or said
    if not problem and end.status != 0:
        problem = f"{host}: status {end.status}, saying: {(end.lines or ('nothing',))[-1]}"
    return LoadProof(problem=problem, files=files)
