"""A node loses its power."""

from __future__ import annotations

from metta_sandbox.scenario.faults.executor import FaultPair
from metta_sandbox.scenario.faults.nodes import EndNode, NodeFault


class KillFault(NodeFault):
    """Everything on the node ends at once, as if its power was cut."""

    key = "kill"
    proof = "the node's first process ran, and has ended by SIGKILL"
    example = "{kill: {node: sweep-worker}, when: {event: train.step, rank: 1, trial: 2, step: 1}}"


class KillNode(EndNode[KillFault]):
    """Cuts a node's power."""


FAULT = FaultPair(KillFault, KillNode)
