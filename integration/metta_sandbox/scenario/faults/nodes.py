"""Faults of whole nodes."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from metta_sandbox.scenario.faults.base import Family, OneNode, Triggered
from metta_sandbox.scenario.units import Duration
from metta_sandbox.words import time


class _NodeFault(OneNode):
    family: ClassVar[Family] = "nodes"

    def __str__(self) -> str:
        return f"{self.key.replace('_', ' ')} {self.node}"


class Kill(_NodeFault):
    """Everything on the node ends at once, as if its power was cut."""

    key: ClassVar[str] = "kill"
    proof: ClassVar[str] = "the node's first process ran, and has ended by SIGKILL"
    example: ClassVar[str] = (
        "{kill: {node: sweep-worker}, when: {event: train.step, rank: 1, trial: 2, step: 1}}"
    )


class Terminate(_NodeFault):
    """The node is told to end, as by a scheduler that takes it away, and then loses its power."""

    key: ClassVar[str] = "terminate"
    proof: ClassVar[str] = (
        "the node's first process ran, and has ended; with `grace`, what ran on it got SIGTERM, "
        "and had ended, or was killed, when that was over"
    )
    example: ClassVar[str] = (
        "{terminate: {node: sweep-worker}, when: {event: handoff.received, node: sweep-worker}}"
    )

    grace: Duration | None = Field(
        default=None,
        description="How long after SIGTERM it takes until what still runs is killed: the notice "
        "that clouds give. Default: a second, and no notice.",
    )

    def __str__(self) -> str:
        notice = "" if self.grace is None else f" with {time(self.grace)} notice"
        return f"{super().__str__()}{notice}"


class Restart(_NodeFault):
    """Everything on the node ends at once, and later the node is started again."""

    key: ClassVar[str] = "restart"
    healing: ClassVar[str] = "it has started again"
    proof: ClassVar[str] = (
        "the node's first process ran, has ended by SIGKILL, and another one runs that has "
        "registered"
    )
    example: ClassVar[str] = (
        "{restart: {node: sweep-worker, down: 2s}, "
        "when: {event: train.step, rank: 1, trial: 1, step: 1}}"
    )

    down: Duration = Field(default=2.0, description="How long it is gone. Default: 2s.")

    @property
    def lasts(self) -> float:
        """How long it is gone, in seconds."""
        return self.down

    def __str__(self) -> str:
        return f"{self.node} restarts, down for {time(self.down)}"


class Pause(_NodeFault):
    """Everything on the node stands still; its connections stay open."""

    key: ClassVar[str] = "pause"
    healing: ClassVar[str] = "it goes on"
    proof: ClassVar[str] = "the node's first process ran, stood still, and runs again"
    example: ClassVar[str] = (
        "{pause: {node: sweep-worker}, when: {event: train.step, rank: 1, trial: 1}, "
        "until: {after: 1s}}"
    )


class LateStart(_NodeFault):
    """The sweep's command starts later on the node than on the others."""

    key: ClassVar[str] = "late_start"
    trigger: ClassVar[Triggered] = "none"
    proof: ClassVar[str] = "the command ran on the other nodes, and not yet on this one"
    example: ClassVar[str] = "{late_start: {node: sweep-worker, by: 2s}}"

    by: Duration = Field(description="How much later.")

    def __str__(self) -> str:
        return f"{self.node} starts {time(self.by)} late"
