"""What faults are carried out on: the nodes, files and services of the scenario being played."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from typing_extensions import Unpack

from metta_sandbox.api.fault_rules import ApiFaultRule, write_rules
from metta_sandbox.errors import StackError
from metta_sandbox.node.agent.messages import (
    Args,
    ArmSaid,
    Asks,
    GroupState,
    Order,
    ProcessState,
    RankState,
    Seen,
    Verb,
)
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.names import API
from metta_sandbox.stack.engines.base import RUN_FOLDER, NodePower, StackPlan
from metta_sandbox.stack.engines.sidecars import Sidecars
from metta_sandbox.stack.link import SWEEP, HubLink

#: Seconds that an agent gets to answer.
_PATIENCE = 5.0


@dataclass
class FaultContext:
    """Where a scenario's faults strike.

    Args:
        scenario: What is played.
        plan: Its folders and hosts.
        link: The connection to its nodes.
        power: Ends, freezes and thaws whole nodes.
        start_on: Starts the sweep's command on a node that was left out.
        network: What strikes networks, from beside nodes; None where nothing can.
        disks: What fills disks, from beside nodes; None where nothing can.
        still: Nodes that stand still, whose answers nobody waits for.

    """

    scenario: Scenario
    plan: StackPlan
    link: HubLink
    power: NodePower
    start_on: Callable[[str], None]
    network: Sidecars | None = None
    disks: Sidecars | None = None
    still: set[str] = field(default_factory=set)
    _rules: dict[str, ApiFaultRule] = field(default_factory=dict)

    @property
    def shared_folder(self) -> str:
        """The folder that nodes share, as a container sees it."""
        return RUN_FOLDER

    def host_of(self, rank: int) -> str:
        """Name the node that a rank runs on."""
        return self.scenario.hosts[rank // self.scenario.workload.trainer.ranks_per_node]

    @property
    def ask(self) -> Asks:
        """What asks a node's agent; it raises a StackError if that refuses, or does not answer."""
        return self._ask

    def _ask(
        self, host: str, verb: Verb, *, patience: float = _PATIENCE, **args: Unpack[Args]
    ) -> Any:
        return self.link.result(self.link.ask(host, verb, **args), host, verb, patience)

    def groups(self, host: str) -> list[GroupState]:
        """List the process groups of a node."""
        return self.ask(host, "groups")

    def command(self, host: str) -> GroupState | None:
        """Find the process group of the sweep's command on a node."""
        return next((each for each in self.groups(host) if each["group"] == SWEEP), None)

    def trainer(self, rank: int) -> RankState | None:
        """Find the process of a rank's trainer: the live one, or else the last."""
        states = [
            state
            for group in self.groups(self.host_of(rank))
            for state in group["ranks"]
            if state["rank"] == rank
        ]
        live = [state for state in states if state["status"] is None]
        return next(reversed(live or states), None)

    def processes(self, host: str) -> list[ProcessState]:
        """List the live processes of a node."""
        return self.ask(host, "processes")

    def state_of(self, host: str, pid: int) -> str:
        """Give the state of a process as the kernel's letter; empty for one that is not there."""
        states = {each["pid"]: each["state"] for each in self.processes(host)}
        return states.get(pid, "")

    def order(self, rank: int, order: Order, patience: float) -> Seen:
        """Order something of what was put into a rank.

        Raises:
            StackError: It takes no orders, or refuses this one.

        """
        # The agent's own patience ends first, and says more.
        return self.ask(
            self.host_of(rank),
            "order",
            patience=patience + 1,
            rank=rank,
            order=order,
            within=patience,
        )

    def arm(self, arms: Sequence[ArmSaid]) -> None:
        """Have emitters of all nodes wait at some events; those no longer named are let go."""
        replies = []
        for host in (*self.plan.hosts, API):
            with suppress(StackError):
                replies.append((host, self.link.ask(host, "arm", arms=list(arms))))
        for host, reply in replies:
            # It does so when it goes on, and until then nobody there waits for anything.
            if host in self.still:
                continue
            with suppress(StackError):  # one that is gone has nobody who waits
                self.link.result(reply, host, "arm", _PATIENCE)

    def set_rule(self, name: str, rule: Mapping[str, Any] | None) -> None:
        """Have the control plane follow a rule from now on, or no longer."""
        if rule is None:
            self._rules.pop(name, None)
        else:
            self._rules[name] = ApiFaultRule.model_validate(rule)
        folder = self.plan.folder / "api"
        folder.mkdir(exist_ok=True)
        write_rules(folder, tuple(self._rules.values()))
