"""One trial on one node: the trainers are started, followed, and stopped if another node failed."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from metta_sandbox import beneath
from metta_sandbox.last_words import last_words
from metta_sandbox.node.agent.events import Record
from metta_sandbox.node.agent.injection.hook import VARIABLE
from metta_sandbox.node.agent.load import slowed
from metta_sandbox.node.agent.own_environment import INDEX_VARIABLES
from metta_sandbox.node.handoff import LEFT_ALONE, STOPPED, HandOff, Outcome, SweepGroup
from metta_sandbox.node.launchers.base import GroupSpec, Launcher, WorkerGroup
from metta_sandbox.node.launchers.plain import OF_A_RANK, place_of
from metta_sandbox.node.overrides_style import (
    everything,
    fill_in,
    flag_words,
    hydra_words,
    too_long,
    variables,
)
from metta_sandbox.node.view import NodeView
from metta_sandbox.scenario.faults import AnyFault, names_of
from metta_sandbox.scenario.faults.injected import injected_ranks
from metta_sandbox.scenario.values import Value
from metta_sandbox.scenario.workload import Workload
from metta_sandbox.words import ended

#: Seconds between two looks at whether another node has failed.
_LOOK = 0.2
#: Seconds that may go by until it is seen what trainers are at that have to be stopped.
_LOOKING = 10.0
#: Seconds that trainers get to end by themselves once they are told to.
_GRACE = 5.0
#: How much of a log's end is searched for last words, in bytes, and how much of them is told.
_LOOKED_AT = 8192
_LONGEST = 300

#: The bundled trainer; overrides follow, Hydra-style.
BUNDLED = (sys.executable, "-m", "metta_sandbox.node.arena")

#: How a trainer ends that was told to, or that had to be killed; None if nobody heard of it.
_TOLD_TO_END = frozenset({None, -signal.SIGTERM, -signal.SIGKILL, 128 + signal.SIGTERM})

#: Why trainers are stopped that need not go on.
_EARLY = "the strategy ended it early"
_PRUNED = f"{STOPPED}{_EARLY}"

OnEvent = Callable[[Record], None]


@dataclass(frozen=True)
class TrialPlan:
    """What a node trains, apart from what the hand-off says.

    Args:
        workload: The trainer, and the variables that it sees.
        seed: The scenario's seed.
        hardware: The profile, such as ``macbook``.
        faults: What is made to go wrong on purpose.
        secrets: Variables of this process that the trainer sees, too, and no file tells.

    """

    workload: Workload
    seed: int
    hardware: str
    faults: tuple[AnyFault, ...] = ()
    secrets: tuple[str, ...] = ()

    @property
    def env(self) -> dict[str, str]:
        """The variables that the scenario gives to the trainer."""
        # The agent, which starts trainers, knows nothing of these.
        given = {name: os.environ[name] for name in INDEX_VARIABLES if name in os.environ}
        known = {name: os.environ[name] for name in self.secrets if name in os.environ}
        return {**given, **self.workload.env, **known}


def trial_folder(run_folder: Path, run: str) -> Path:
    """Return where everything of a trial is kept."""
    return run_folder / "trials" / run


def trainer_command(
    plan: TrialPlan, handoff: HandOff, folder: Path, environ: Mapping[str, str]
) -> tuple[str, ...]:
    """Build the command line of one rank's trainer.

    Args:
        plan: The trainer.
        handoff: Its overrides.
        folder: The trial's.
        environ: What variables in the command's words stand for.

    """
    trainer = plan.workload.trainer
    if trainer.bundled:
        settings: dict[str, Value] = {"run": handoff.run, "seed": plan.seed, **handoff.overrides}
        return (*BUNDLED, *hydra_words(settings, {}), f"+hardware={plan.hardware}")
    command = fill_in(trainer.command, environ, folder)
    if trainer.overrides_style == "hydra":
        return (*command, *hydra_words(handoff.overrides, trainer.overrides))
    if trainer.overrides_style == "flags":
        return (*command, *flag_words(handoff.overrides))
    return command


def trainer_environment(
    plan: TrialPlan, handoff: HandOff, folder: Path, node_rank: int
) -> dict[str, str]:
    """Build the variables that a trial's trainers see beside the node's."""
    trainer = plan.workload.trainer
    told = variables(handoff.overrides) if trainer.overrides_style == "env" else {}
    # What a trainer of somebody's tracks itself is kept with its trial.
    tracked = {} if trainer.bundled else {"WANDB_DIR": str(folder)}
    return {
        **plan.env,
        **told,
        **tracked,
        **everything(handoff.overrides, folder / f"overrides-{node_rank}.json"),
        "METTA_RUN_ID": handoff.run,
        "METTA_TRIAL": str(handoff.trial),
        "METTA_TRIAL_DIR": str(folder),
        "METTA_HARDWARE": plan.hardware,
        "METTA_SEED": str(plan.seed),
        **_injected(plan),
    }


def _injected(plan: TrialPlan) -> dict[str, str]:
    """Name the ranks that faults strike inside of, if there are any."""
    ranks = injected_ranks(plan.faults)
    return {VARIABLE: ",".join(map(str, ranks))} if ranks else {}


def with_faults(
    plan: TrialPlan, handoff: HandOff, view: NodeView
) -> tuple[HandOff, dict[str, dict[str, Value]]]:
    """Give what this node's rank is started with: what was handed off, unless a fault has others.

    Returns:
        The hand-off, and by fault the overrides that are others.

    """
    found: dict[str, dict[str, Value]] = {}
    for name, fault in zip(names_of(plan.faults), plan.faults, strict=True):
        if others := fault.said.overrides_of(view.node_rank, handoff.trial):
            found[name] = dict(others)
            handoff = replace(handoff, overrides={**handoff.overrides, **others})
    return handoff, found


def group_spec(plan: TrialPlan, handoff: HandOff, view: NodeView) -> GroupSpec:
    """Say what this node's launcher must start for a trial."""
    folder = trial_folder(view.run_folder, handoff.run)
    trainer = plan.workload.trainer
    env = trainer_environment(plan, handoff, folder, view.node_rank)
    place = place_of(view.node_rank) if trainer.launcher in ("own", "plain") else {}
    known = {**os.environ, **place, **env, "MASTER_PORT": str(handoff.port)}
    if trainer.launcher != "own":
        # Those of each rank are not known before it is started.
        known = {name: value for name, value in known.items() if name not in OF_A_RANK}
    return GroupSpec(
        group=f"trial-{handoff.trial}",
        command=trainer_command(plan, handoff, folder, known),
        env=env,
        num_nodes=view.num_nodes,
        node_rank=view.node_rank,
        ranks_per_node=trainer.ranks_per_node,
        master_addr=view.master_addr,
        master_port=handoff.port,
        log_folder=folder,
        cwd=Path.cwd(),
    )


def train(
    launcher: Launcher, spec: GroupSpec, group: SweepGroup, trial: int, on_event: OnEvent
) -> Outcome:
    """Train one trial on this node and say how it ended.

    Args:
        launcher: Starts the trainers.
        spec: What to start.
        group: Tells whether another node has failed meanwhile.
        trial: The trial's number.
        on_event: Called with each event of this node's trainers.

    """
    if problem := too_long(spec.command, spec.env):
        return Outcome(spec.node_rank, {}, f"node {spec.node_rank} can start no trainer: {problem}")
    workers = launcher.launch(spec)
    stopped_for, looked = "", time.monotonic()
    while True:
        message = workers.next(time.monotonic() + _LOOK)
        if message is not None and message["type"] != "event":
            break
        if message is not None:
            on_event(message["record"])
        if message is None or time.monotonic() > looked + _LOOK:
            looked = time.monotonic()
            stopped_for = stopped_for or _stop_if_over(workers, group, trial)
    statuses = {rank["rank"]: rank["status"] for rank in message["ranks"]}
    for rank in statuses:
        # Most track nothing themselves; what is empty says nothing.
        with suppress(OSError):
            (spec.log_folder / f"rank-{rank}").rmdir()
    reason = ""
    if message["status"] != 0:
        reason = _reason(message["status"], statuses, stopped_for, spec)
        if group.is_pruned(trial) and (reason == _PRUNED or LEFT_ALONE.search(reason)):
            reason = ""
    return Outcome(spec.node_rank, statuses, reason)


def _stop_if_over(workers: WorkerGroup, group: SweepGroup, trial: int) -> str:
    """Stop what need not go on, as another node failed or rank 0 ends the trial; say why."""
    if group.is_pruned(trial):
        workers.stop(_GRACE)
        return _EARLY
    failure = group.failure(trial)
    if failure is None:
        return ""
    # Who waits where is seen as long as they wait.
    workers.look(slowed(_LOOKING))
    workers.stop(_GRACE)
    return failure


def _reason(
    status: int, statuses: Mapping[int, int | None], stopped_for: str, spec: GroupSpec
) -> str:
    failed = {rank: end for rank, end in statuses.items() if end != 0}
    # One that failed by itself may do so just before it is told to stop.
    if stopped_for and all(end in _TOLD_TO_END for end in failed.values()):
        return f"{STOPPED}{stopped_for}"
    if not failed:
        node = f"the launcher on node {spec.node_rank}"
        return f"{node} {describe_status(status)}{_saying(spec.launcher_log)}"
    return ", ".join(
        f"rank {rank} {describe_status(end)}{_saying(spec.log_folder / f'rank-{rank}.log')}"
        for rank, end in failed.items()
    )


def _saying(log: Path) -> str:
    """Quote the last line of a log that says something: what its writer died of, mostly."""
    try:
        said_last = beneath.read_end(log.parent, log, _LOOKED_AT)
    except OSError:
        return ""
    said = last_words(said_last.decode(errors="replace").splitlines())
    return f", saying: {said[:_LONGEST]}" if said else ""


def describe_status(status: int | None) -> str:
    """Say how a process ended, in words."""
    if status is None:
        return "never reported its end"
    return ended(status)
