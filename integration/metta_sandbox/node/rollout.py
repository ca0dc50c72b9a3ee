"""A sweep's rollout: the same program on every node, started at the same moment.

All nodes meet, and then, trial by trial: rank 0 suggests and names a run, hands it off to all,
all train it, rank 0 evaluates and records. See ``leader`` for what only rank 0 may do.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

from metta_sandbox.errors import InputError, SandboxError
from metta_sandbox.node.agent.client import AgentClient
from metta_sandbox.node.agent.emitter import Emitter
from metta_sandbox.node.agent.events import (
    FaultHappened,
    HandoffReceived,
    HandoffSent,
    KnownEvent,
    Record,
    RolloutFinished,
    RolloutStarted,
    TrialLaunched,
)
from metta_sandbox.node.agent.fork_server.spawn import BUNDLED as PRELOADED
from metta_sandbox.node.control_plane import ControlPlane
from metta_sandbox.node.handoff import HandOff, SweepGroup
from metta_sandbox.node.launchers.base import Launcher
from metta_sandbox.node.launchers.plain import PlainLauncher
from metta_sandbox.node.launchers.torchrun import TorchrunLauncher
from metta_sandbox.node.launchers.warm import WarmLauncher
from metta_sandbox.node.leader import Leader
from metta_sandbox.node.rejoin import RejoiningGroup
from metta_sandbox.node.trial import (
    BUNDLED,
    TrialPlan,
    group_spec,
    train,
    with_faults,
)
from metta_sandbox.node.trial_folder import TrialFolder
from metta_sandbox.node.view import NodeView
from metta_sandbox.scenario.loading import load
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.overrides import Override, abridged, parse
from metta_sandbox.scenario.values import Value

#: Seconds beyond the scenario's longest silence that a rollout waits for another node: the
#: harness must see the silence, and look into it, while it lasts.
_MARGIN = 15.0
#: How many of the longest silences a node waits for the others by default.
_SILENCES = 4


@dataclass(frozen=True)
class Command:
    """The command line ``sweep run=NAME key=value … +hardware=NAME``.

    Args:
        sweep: The sweep's name.
        hardware: The profile, or None if not said.
        overrides: Settings all trials share.

    """

    sweep: str
    hardware: str | None
    overrides: dict[str, Value]


def read_command(words: Sequence[str]) -> Command:
    """Read the command line that starts on every node.

    Raises:
        InputError: It is no override, or ``run=`` is missing.

    """
    overrides = [parse(word) for word in words]
    named = {override.key: override.value for override in overrides}
    if not isinstance(named.get("run"), str):
        raise InputError("run=NAME is missing", "sweep run=test trainer.total_timesteps=50")
    hardware = named.get("hardware")
    return Command(
        sweep=str(named["run"]),
        hardware=None if hardware is None else str(hardware),
        overrides=_settings(overrides),
    )


def _settings(overrides: Sequence[Override]) -> dict[str, Value]:
    return {
        override.key: override.value
        for override in overrides
        if override.key not in {"run", "hardware"}
        and not override.key.startswith("sweep.")
        and override.op != "~"
    }


def roll_out(
    scenario: Scenario,
    command: Command,
    view: NodeView,
    emitter: Emitter,
    begun: Callable[[], None],
) -> int:
    """Take part in a sweep until it is over. Returns the exit status.

    Args:
        scenario: What is swept, and within which limits.
        command: The command line.
        view: This node's place.
        emitter: Where events go.
        begun: Called once it has started, which is when a trial, or the end, was handed off.

    """
    emitter.tell(RolloutStarted(host=view.host, num_nodes=view.num_nodes))
    hardware = command.hardware or scenario.hardware
    secrets = tuple(scenario.secrets)
    plan = TrialPlan(scenario.workload, scenario.seed, hardware, scenario.faults, secrets)
    launcher = _launcher(plan, view)
    group = _meet(scenario, view)
    leader = _lead(scenario, command, view, emitter) if view.is_master else None
    folder = TrialFolder.of(scenario, view)
    for number in count(1):
        handoff = _hand_off(group, number, leader, emitter, folder)
        begun()
        if not handoff.run:
            break
        if not folder.shared:
            folder.prepare(handoff, emitter)
        started, others = with_faults(plan, handoff, view)
        spec = group_spec(plan, started, view)
        for fault, values in others.items():
            sent = abridged({key: handoff.overrides.get(key) for key in values})
            emitter.tell(
                FaultHappened(
                    fault=fault,
                    trial=handoff.trial,
                    handed_off=sent,
                    started_with=abridged({key: started.overrides[key] for key in values}),
                    command=list(spec.command),
                )
            )
        overrides = abridged(started.overrides)
        emitter.tell(TrialLaunched(trial=handoff.trial, run=handoff.run, overrides=overrides))
        follow = _ignore if leader is None else partial(_follow, leader, group)
        outcome = train(launcher, spec, group, handoff.trial, follow)
        group.tell(handoff.trial, outcome)
        if leader:
            leader.conclude(group.outcomes(handoff.trial))
        folder.look(handoff, emitter)
    if leader is None:
        emitter.tell(RolloutFinished())
        return 0
    emitter.tell(
        RolloutFinished(completed=leader.completed, failed=leader.failed, retried=leader.retried)
    )
    if leader.gave_up:
        _say(f"gave up, as {scenario.sweep.max_failures_in_a_row} trials in a row failed")
        return 1
    return 0


def _meet(scenario: Scenario, view: NodeView) -> SweepGroup:
    # The harness ends a sweep that hangs after its longest silence, and waits on where a node only
    # needs longer; till then all others wait, too.
    timeout = scenario.handoff_timeout or _SILENCES * scenario.longest_silence + _MARGIN
    rejoins = scenario.on_node_failure == "rejoin"
    return (RejoiningGroup if rejoins else SweepGroup)(view, timeout)


def _launcher(plan: TrialPlan, view: NodeView) -> Launcher:
    client, trainer = AgentClient(view.events), plan.workload.trainer
    torchrun = TorchrunLauncher(client, view.agent)
    if trainer.launcher == "torchrun":
        return torchrun
    if trainer.launcher != "warm":
        return PlainLauncher(client, view.agent, own=trainer.launcher == "own")
    if plan.hardware == "gpu":
        _say("not warm, so torchrun starts all trials: CUDA does not survive a fork")
        return torchrun
    preload = PRELOADED if trainer.bundled else trainer.preload
    warm = WarmLauncher(client, view.agent, cold=torchrun, preload=preload, tell=_say)
    warm.prepare(trainer.command or BUNDLED, plan.env)
    return warm


def _say(line: str) -> None:
    sys.stderr.write(f"sweep: {line}\n")


def _lead(scenario: Scenario, command: Command, view: NodeView, emitter: Emitter) -> Leader:
    leader = Leader(
        scenario,
        sweep=command.sweep,
        overrides={**scenario.overrides, **command.overrides},
        run_folder=view.run_folder,
        control_plane=ControlPlane.from_environment(),
        emitter=emitter,
    )
    leader.begin()
    return leader


def _hand_off(
    group: SweepGroup, number: int, leader: Leader | None, emitter: Emitter, folder: TrialFolder
) -> HandOff:
    sent = leader.propose() if leader else None
    if sent is not None and sent.run:
        if folder.shared:
            folder.prepare(sent, emitter)
        emitter.tell(_told(sent, HandoffSent))
    received = group.hand_off(number, sent)
    if received.run:
        emitter.tell(_told(received, HandoffReceived))
    return received


def _told(handoff: HandOff, event: type[HandoffSent]) -> KnownEvent:
    return event(
        trial=handoff.trial,
        run=handoff.run,
        overrides=abridged(handoff.overrides),
        wandb_run_id=handoff.wandb_run_id,
        port=handoff.port,
    )


def _follow(leader: Leader, group: SweepGroup, record: Record) -> None:
    """Take in an event of rank 0's trainers, which may be why a trial ends early."""
    if leader.follow(record):
        group.prune(leader.trial)


def _ignore(_record: Record) -> None:
    """Only rank 0's rollout tracks."""


def main(begun: Callable[[], None], arguments: Sequence[str] | None = None) -> int:
    """Run the rollout of this node. Returns the exit status.

    Args:
        begun: See ``roll_out``.
        arguments: The command line; default: this process's.

    """
    parser = argparse.ArgumentParser(prog="metta_sandbox.node", description=__doc__)
    parser.add_argument("verb", choices=["sweep"])
    parser.add_argument("overrides", nargs="+", help="run=NAME, key=value, +hardware=macbook")
    options = parser.parse_args(arguments)
    # mettagrid sets the root logger up for everybody, unless somebody else has.
    logging.basicConfig(level=logging.WARNING)
    try:
        command = read_command(options.overrides)
        scenario = load(Path(os.environ["METTA_SCENARIO"]))
        view = NodeView.from_environment()
        return roll_out(scenario, command, view, Emitter.from_environment(), begun)
    except SandboxError as error:
        sys.stderr.write(f"sweep: {error}\n")
        return error.exit_status
