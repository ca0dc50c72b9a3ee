"""Faults of what a node has to live on."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from metta_sandbox.scenario.faults.base import Family, OneNode, Triggered
from metta_sandbox.scenario.faults.code import CodeFault


class OutOfMemory(CodeFault):
    """The node's memory is limited, and the trainer takes more than is left."""

    key: ClassVar[str] = "out_of_memory"
    family: ClassVar[Family] = "resources"
    in_containers: ClassVar[bool] = True
    healing: ClassVar[str] = "the node's memory is no longer limited"
    proof: ClassVar[str] = (
        "the rank's process ran, and has ended by SIGKILL, and the kernel has counted one kill more"
    )
    example: ClassVar[str] = (
        "{out_of_memory: {rank: 1}, when: {event: train.step, rank: 1, trial: 1, step: 1}}"
    )


class Cpu(OneNode):
    """The node gets a share of one processor and no more."""

    key: ClassVar[str] = "cpu"
    harmless: ClassVar[bool] = True
    family: ClassVar[Family] = "resources"
    in_containers: ClassVar[bool] = True
    trigger: ClassVar[Triggered] = "may"
    healing: ClassVar[str] = "it gets what it got before"
    proof: ClassVar[str] = (
        "the kernel's quota of the node, and that it has been made to wait for it; and the quota "
        "of before again"
    )
    example: ClassVar[str] = (
        "{cpu: {node: sweep-worker, share: 0.1}, "
        "when: {event: train.step, rank: 1, trial: 1, step: 1}, until: {after: 2s}}"
    )

    share: float = Field(
        default=0.1, ge=0.01, le=64, description="Of one processor's time. Default: 0.1."
    )

    def __str__(self) -> str:
        return f"{self.node} gets {self.share:g} of a processor"


class DiskFull(OneNode):
    """The disk under the folder that nodes share has no room left, as the node sees it."""

    key: ClassVar[str] = "disk_full"
    family: ClassVar[Family] = "resources"
    beside_nodes: ClassVar[bool] = True
    trigger: ClassVar[Triggered] = "may"
    healing: ClassVar[str] = "there is room again"
    proof: ClassVar[str] = (
        "bytes were free and a file could be written there; none are, and the node is answered "
        "ENOSPC; both again"
    )
    voids: ClassVar[frozenset[str]] = frozenset({"W&B runs", "checkpoints"})
    example: ClassVar[str] = (
        "{disk_full: {node: sweep-master}, "
        "when: {event: train.step, rank: 0, trial: 1, step: 1}, until: {after: 2s}}"
    )

    def __str__(self) -> str:
        return f"the disk of {self.node} is full"
