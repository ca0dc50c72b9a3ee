"""What is known of a sweep that went wrong."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import count
from typing import Any

from metta_sandbox.autopsy.calls import CurrentCall, reading
from metta_sandbox.autopsy.losses import LostMetric
from metta_sandbox.autopsy.members import Member, Tree, member_of
from metta_sandbox.autopsy.seen import NodeLook, Process, Recorded, RecordedLife
from metta_sandbox.autopsy.words import Exc
from metta_sandbox.stack.link import SWEEP
from metta_sandbox.timeline.recording import Event

_TRIAL_GROUP = re.compile(r"trial-(\d+)")


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
        lives: By host: what its processes told of themselves.
        lost: By rank: where its log first has a loss that is no number.
        command_lost: By host: the same of what its command printed.
        script: Whether a command of the user's runs in the place of our rollout.
        cut_short: Whether the deadline has ended it, while it was not silent.

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
    lives: Mapping[str, Sequence[RecordedLife]] = field(default_factory=dict)
    lost: Mapping[int, LostMetric] = field(default_factory=dict)
    command_lost: Mapping[str, LostMetric] = field(default_factory=dict)
    script: bool = False
    cut_short: bool = False

    @property
    def group(self) -> str:
        """The process group of the trial that went wrong."""
        return f"trial-{self.trial}"

    @cached_property
    def members(self) -> tuple[Member, ...]:
        """The ranks of the trial or of a user's command, in order; also those that never came."""
        bases = [self._command(host) for host in self.hosts]
        if self.begun or not self.script:
            bases = [self._member(rank) for rank in range(self.size)]
        found = [one for host in self.hosts for one in self._ranks_on(host, bases)]
        return tuple(sorted(self._first_failed(found), key=lambda one: one.rank))

    @cached_property
    def losses(self) -> dict[int, LostMetric]:
        """Where each rank's loss was lost, by its log, or by its command's if it is alone there."""
        crowd = Counter(one.node for one in self.members)
        of_commands = {
            one.rank: self.command_lost[one.node]
            for one in self.members
            if one.node in self.command_lost and crowd[one.node] == 1
        }
        return {**of_commands, **self.lost}

    @property
    def size(self) -> int:
        """How many ranks the scenario asks for."""
        return len(self.hosts) * self.ranks_per_node

    @property
    def load(self) -> float:
        """The highest load that a node showed; 0 if none did."""
        return max((look.load or 0.0 for look in self.looks.values()), default=0.0)

    @cached_property
    def epoch(self) -> float:
        """When the run began, by the clock of the nodes."""
        walls = (float(event.get("wall") or 0.0) - event.received for event in self.events)
        return max((each for each in walls if each > 0), default=0.0)

    @cached_property
    def trees(self) -> dict[str, Tree]:
        """What runs and ran on each node."""
        return {host: self._tree(host) for host in self.hosts}

    def to_json(self) -> dict[str, Any]:
        """Write what is not kept elsewhere: what ranks, launchers and commands said."""
        said: dict[str, Mapping[Any, Exc]] = {
            "errors": self.errors,
            "launcher_errors": self.launcher_errors,
            "rollout_errors": self.rollout_errors,
        }
        told: dict[str, Any] = {
            name: {str(who): asdict(error) for who, error in each.items()}
            for name, each in said.items()
        }
        lives = {host: [one.model_dump() for one in each] for host, each in self.lives.items()}
        lost = {str(rank): asdict(each) for rank, each in self.losses.items()}
        known = {
            "trial": self.trial,
            "cut_short": self.cut_short,
            "fallen": dict(self.fallen),
            "lost": lost,
        }
        return {**known, **told, "lives": lives}

    def member(self, rank: int) -> Member:
        """Give one rank."""
        return next(one for one in self.members if one.rank == rank)

    @cached_property
    def begun(self) -> bool:
        """Whether any rank of the trial was started."""
        return any(
            event.name == "rank.started" and event.get("group") == self.group
            for event in self.events
        )

    @cached_property
    def tracker_answers(self) -> str:
        """What the stand-in for W&B's server answered as the scenario prescribes; or nothing."""
        told = Counter(
            "closed the connection" if event.get("dropped") else f"answered {event.get('status')}"
            for event in self.events
            if event.name == "api.request" and event.get("service") == "wandb"
            if event.get("dropped") or event.get("status") is not None
        )
        answers = (
            f"{what} {'once' if count == 1 else f'{count} times'}" for what, count in told.items()
        )
        return f"; its server {' and '.join(answers)}" if told else ""

    @cached_property
    def at_their_end(self) -> frozenset[str]:
        """The nodes whose rollouts said that they are done."""
        return frozenset(
            str(event.get("node")) for event in self.events if event.name == "rollout.finished"
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
    def rollouts(self) -> dict[str, CurrentCall]:
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

    def _tree(self, host: str) -> Tree:
        look = self.looks.get(host, NodeLook())
        lives = {
            one.pid: one
            for one in (*look.lives, *self.lives.get(host, ()))
            if self.script or one.trial is None or one.trial == self.trial
        }
        return Tree(look, lives, frozenset(self._pids.values()))

    @cached_property
    def _pids(self) -> dict[int, int]:
        """Pids of what our launchers have started, by rank."""
        return {
            int(event.get("rank")): int(event.get("process") or 0)
            for event in self.events
            if event.name == "rank.started" and event.get("group") == self.group
        }

    def _ranks_on(self, host: str, bases: Sequence[Member]) -> list[Member]:
        """Find the ranks of a node below what was started there."""
        tree, found = self.trees[host], []
        own = [one for one in bases if one.node == host]
        for base in own:
            pids = tree.ranks(self._pids_of(tree, base, alone=len(own) == 1))
            if pids:
                ranks = [member_of(tree, base, pid, alone=len(pids) == 1) for pid in pids]
                found += _numbered(tree, ranks, pids)
            else:
                found.append(self._without_ranks(tree, base))
        return found

    def _pids_of(self, tree: Tree, base: Member, *, alone: bool) -> list[int]:
        if self.script and not self.begun:
            return sorted({*tree.processes, *tree.lives})
        root = self._pids.get(base.rank, 0)
        pids = set(tree.below(root)) if root in tree.processes or root in tree.lives else set()
        mine = (
            pid
            for pid, life in tree.lives.items()
            if life.trial == self.trial and (alone or life.environ.get("RANK") == str(base.rank))
        )
        return sorted(pids.union(mine))

    def _without_ranks(self, tree: Tree, base: Member) -> Member:
        """Say what is known where there is no rank: of the command itself, if it still runs."""
        process = tree.processes.get(self._pids.get(base.rank, 0))
        if process is None:
            gone = base.status is not None
            return replace(base, gone=gone, error=base.error if gone else None)
        found = member_of(tree, base, process.pid, alone=True)
        return replace(found, rank=base.rank)

    def _command(self, host: str) -> Member:
        status, ended = self.commands.get(host, (None, None))
        rank = self.hosts.index(host)
        return Member(rank, host, status=status, ended=ended, error=self.rollout_errors.get(host))

    def _first_failed(self, members: Sequence[Member]) -> list[Member]:
        """Take the ranks of the first generation that failed; a launcher has restarted the rest."""
        generations = sorted({one.generation for one in members})
        chosen = next(
            (
                each
                for each in generations
                if any(one.generation == each and one.gone and one.status for one in members)
            ),
            generations[-1] if generations else 0,
        )
        return [self._timed(one) for one in members if one.generation == chosen]

    def _timed(self, member: Member) -> Member:
        """Tell an end in seconds since the run began, whichever clock it was told by."""
        if member.ended is None or member.ended < self.epoch or not self.epoch:
            return member
        return replace(member, ended=member.ended - self.epoch)

    def _member(self, rank: int) -> Member:
        node = self.hosts[rank // self.ranks_per_node]
        status = ended = step = None
        killed = started = False
        for event in self.events:
            if event.get("rank") != rank or event.get("group") == SWEEP:
                continue
            if event.get("group") != self.group and event.get("trial") != self.trial:
                continue
            if event.name == "rank.started":
                node, started = str(event.get("node")), True
            elif event.name == "rank.exited":
                status, ended = event.get("status"), event.received
                killed = bool(event.get("out_of_memory"))
            elif event.name == "train.step":
                step = event.get("step")
        return Member(
            rank,
            node,
            status=status,
            ended=ended,
            error=self.errors.get(rank),
            step=step,
            out_of_memory=killed,
            started=started,
            recorded=self.recorded.get(rank),
        )


def _numbered(tree: Tree, members: Sequence[Member], pids: Sequence[int]) -> list[Member]:
    """Give those ranks of a node a number that have none, in the order of their start."""
    if len(members) == 1:
        return list(members)
    numbers = [tree.number(pid) for pid in pids]
    known = {each for each in numbers if each is not None}
    start = 0 if known else members[0].rank * len(members)
    free = (each for each in count(start) if each not in known)
    return [
        replace(one, rank=next(free)) if number is None else one
        for one, number in zip(members, numbers, strict=True)
    ]


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
