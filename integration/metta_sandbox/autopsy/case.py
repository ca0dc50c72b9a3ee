"""What is known of a sweep that went wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from metta_sandbox.autopsy.calls import Call, reading
from metta_sandbox.autopsy.seen import NodeLook, Process, Recorded
from metta_sandbox.autopsy.words import Exc
from metta_sandbox.stack.link import SWEEP
from metta_sandbox.timeline.recording import Event

_TRIAL_GROUP = re.compile(r"trial-(\d+)")


@dataclass(frozen=True)
class Member:
    """One rank of the trial, as far as it is known.

    Attributes:
        rank: Its number.
        node: Its host.
        process: What was seen of it; None if it was not there.
        call: What it is at; None if it was not there.
        status: Its exit status, negative for a signal; None while it lives.
        ended: When it did, in seconds since the run began.
        error: The last exception in its log.
        step: The last training step that it told.
        out_of_memory: Whether the kernel has killed it, as memory ran out.
        started: Whether its launcher has told of it.
        recorded: The collectives that it has entered, if it could still tell.

    """

    rank: int
    node: str
    process: Process | None = None
    call: Call | None = None
    status: int | None = None
    ended: float | None = None
    error: Exc | None = None
    step: int | None = None
    out_of_memory: bool = False
    started: bool = False
    recorded: Recorded | None = None

    @property
    def alive(self) -> bool:
        """Whether it had not ended."""
        return self.status is None


@dataclass(frozen=True)
class Case:
    """All that an autopsy goes by.

    Args:
        hosts: The nodes, by rank of their rollouts.
        ranks_per_node: Trainers on each node.
        events: The timeline's, in order of receipt.
        trial: The trial that was under way when it went wrong, or failed.
        looks: What nodes showed while it hung, or before their ranks were stopped, by host.
        errors: By rank: the last exception in its log of this trial.
        launcher_errors: By host: the same of the launcher's log.
        recorded: By rank: the collectives that it had entered when an exception ended it.
        rollout_errors: By host: the last exception of its rollout or command.
        fallen: By host: how it ended, of nodes and services that are gone.

    """

    hosts: Sequence[str]
    ranks_per_node: int
    events: Sequence[Event]
    trial: int | None = None
    looks: Mapping[str, NodeLook] = field(default_factory=dict)
    errors: Mapping[int, Exc] = field(default_factory=dict)
    launcher_errors: Mapping[str, Exc] = field(default_factory=dict)
    recorded: Mapping[int, Recorded] = field(default_factory=dict)
    rollout_errors: Mapping[str, Exc] = field(default_factory=dict)
    fallen: Mapping[str, str] = field(default_factory=dict)

    @property
    def group(self) -> str:
        """The process group of that trial."""
        return f"trial-{self.trial}"

    @cached_property
    def members(self) -> tuple[Member, ...]:
        """The ranks of the trial, in order; also those that never came."""
        return tuple(self._member(rank) for rank in range(len(self.hosts) * self.ranks_per_node))

    @cached_property
    def begun(self) -> bool:
        """Whether any rank of the trial was started."""
        return any(
            event.name == "rank.started" and event.get("group") == self.group
            for event in self.events
        )

    @cached_property
    def commands(self) -> dict[str, tuple[int, float]]:
        """Exit status and time of each node's command, of those that have ended."""
        return {
            str(event.get("node")): (int(event.get("status")), event.received)
            for event in self.events
            if event.name == "command.exited"
        }

    @cached_property
    def rollouts(self) -> dict[str, Call]:
        """What each node's rollout is at, of those that were seen."""
        return {host: reading(process) for host, process in self.rollout_processes.items()}

    @cached_property
    def rollout_processes(self) -> dict[str, Process]:
        """Each node's rollout, or what stands for a command of the user's.

        That is a process of its that waits for other nodes, or else the one that started the rest.
        """
        pids = {
            str(event.get("node")): event.get("pid")
            for event in self.events
            if event.name == "rollout.started"
        }
        found = {}
        for host, look in self.looks.items():
            waiting = (one for one in look.programs if reading(one).waits_for_others)
            process = look.process(pids.get(host)) or next(waiting, None)
            if process is None and look.programs:
                process = look.programs[0]
            if process is not None:
                found[host] = process
        return found

    def _member(self, rank: int) -> Member:
        node = self.hosts[rank // self.ranks_per_node]
        pid = status = ended = step = None
        killed = started = False
        for event in self.events:
            if event.get("rank") != rank or event.get("group") == SWEEP:
                continue
            if event.get("group") != self.group and event.get("trial") != self.trial:
                continue
            if event.name == "rank.started":
                pid, node, started = event.get("process"), str(event.get("node")), True
            elif event.name == "rank.exited":
                status, ended = event.get("status"), event.received
                killed = bool(event.get("out_of_memory"))
            elif event.name == "train.step":
                step = event.get("step")
        look = self.looks.get(node)
        process = look.process(pid) if look else None
        if process is not None:
            # It lived when it was looked at; what it ended of later was our ending it.
            status = ended = None
        call = reading(process) if process else None
        # One that lived wrote whatever its log says of an error when it was ended.
        error = None if status is None else self.errors.get(rank)
        recorded = process.recorded if process else self.recorded.get(rank)
        return Member(
            rank, node, process, call, status, ended, error, step, killed, started, recorded
        )


def trial_under_way(events: Sequence[Event]) -> int | None:
    """Find the last trial that any event tells of."""
    for event in reversed(events):
        trial = event.get("trial")
        if isinstance(trial, int):
            return trial
        match = _TRIAL_GROUP.fullmatch(str(event.get("group")))
        if match:
            return int(match[1])
    return None
