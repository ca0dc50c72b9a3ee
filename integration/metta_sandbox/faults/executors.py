"""What carries out each kind of fault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metta_sandbox.faults.clock import ShiftClock
from metta_sandbox.faults.code import (
    EndRank,
    HoldLockInRank,
    Poison,
    RaiseInRank,
    SegfaultInRank,
    Skip,
    SleepInRank,
    StartOtherwise,
)
from metta_sandbox.faults.control import MisguideApi, NameWrongly
from metta_sandbox.faults.disk import FillDisk
from metta_sandbox.faults.executor import Executor
from metta_sandbox.faults.files import BlockWandbFolder, CorruptFile
from metta_sandbox.faults.network import (
    CutLink,
    DelayPackets,
    ForgetName,
    LosePackets,
    NarrowLink,
    ResetConnections,
    TakePort,
)
from metta_sandbox.faults.nodes import KillNode, PauseNode, RestartNode, StartLate, TerminateNode
from metta_sandbox.faults.processes import KillWandbService, SignalProcess
from metta_sandbox.faults.resources import ExhaustMemory, ThrottleNode
from metta_sandbox.scenario.faults import (
    ApiFault,
    Bandwidth,
    Clock,
    Corrupt,
    Cpu,
    Delay,
    DiskFull,
    Exit,
    FaultKind,
    HoldGil,
    Kill,
    LateStart,
    NanGradients,
    NoName,
    OtherOverrides,
    OutOfMemory,
    PacketLoss,
    Partition,
    Pause,
    PortTaken,
    Raise,
    RejectToken,
    Reset,
    Restart,
    RunName,
    Segfault,
    SignalFault,
    SkipCollective,
    Sleep,
    Terminate,
    WandbFolder,
    WandbService,
)

#: By kind of fault, in the catalogue's order.
EXECUTORS: Mapping[type[FaultKind], type[Executor[Any]]] = {
    Kill: KillNode,
    Terminate: TerminateNode,
    Restart: RestartNode,
    Pause: PauseNode,
    LateStart: StartLate,
    OutOfMemory: ExhaustMemory,
    Cpu: ThrottleNode,
    DiskFull: FillDisk,
    Partition: CutLink,
    PacketLoss: LosePackets,
    Delay: DelayPackets,
    Bandwidth: NarrowLink,
    Reset: ResetConnections,
    NoName: ForgetName,
    PortTaken: TakePort,
    SignalFault: SignalProcess,
    WandbService: KillWandbService,
    Raise: RaiseInRank,
    Exit: EndRank,
    Segfault: SegfaultInRank,
    Sleep: SleepInRank,
    HoldGil: HoldLockInRank,
    NanGradients: Poison,
    SkipCollective: Skip,
    OtherOverrides: StartOtherwise,
    Clock: ShiftClock,
    Corrupt: CorruptFile,
    WandbFolder: BlockWandbFolder,
    ApiFault: MisguideApi,
    RunName: NameWrongly,
    RejectToken: MisguideApi,
}
