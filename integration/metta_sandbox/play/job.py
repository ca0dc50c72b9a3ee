"""What every node is told to run: the sweep's rollout, or what a user runs in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from metta_sandbox.node.agent.injection.hook import exported
from metta_sandbox.node.agent.messages import Template
from metta_sandbox.skypilot.played import SkyPilot
from metta_sandbox.skypilot.script import carried, command
from metta_sandbox.skypilot.script import script as task_script
from metta_sandbox.skypilot.variables import (
    Launched,
    preset,
    pretended,
    run_variables,
    setup_variables,
)
from metta_sandbox.stack.node_environment import (
    job_environment,
    setup_command,
    setup_environment,
)

#: Before a user's commands, on their first line: W&B runs go where they are collected from.
_TRACKED = 'export WANDB_DIR="${WANDB_DIR:-$METTA_RUN_FOLDER}"; '


@dataclass(frozen=True)
class Job:
    """What every node is told to run.

    Args:
        python: The nodes' interpreter.
        run: The sweep's name.
        words: ``sweep run=NAME key=value … +hardware=macbook``.
        cwd: The working folder.
        env: Where the control plane is.
        num_gpus: GPUs on each node.
        folders: Working folders by host, of those that have their own.
        variables: What the scenario adds to the environment.
        index: How pip asks the stack's package index.
        script: The user's own shell commands, in place of our rollout; None for the rollout.
        warm: Whether trainers start from a process that has imported what the rollout needs, too.
        task: The SkyPilot task that the script is of, if it is one's.
        launched: What is known of the task's launch.

    """

    python: str
    run: str
    words: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]
    num_gpus: int = 0
    folders: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    index: Mapping[str, str] = field(default_factory=dict)
    script: str | None = None
    warm: bool = False
    task: SkyPilot | None = None
    launched: Launched = field(default_factory=lambda: Launched("sky", ""))

    @property
    def noun(self) -> str:
        """What it is called when it fails."""
        return "the sweep's rollout" if self.script is None else "the command"

    @property
    def template(self) -> Template | None:
        """From which template it may be forked: any that is there, a node's own, or none."""
        if self.script is not None:
            return None
        return "own" if self.warm else "any"

    def environment(self, node_rank: int, addresses: Sequence[str]) -> dict[str, str]:
        """Build the variables that it sees on a node beside the node's own."""
        if self.task:
            said = run_variables(self.task, self.launched, self.variables, node_rank, addresses)
            ours = {**pretended(self.task), **({} if self.task.bare else self.index), **self.env}
            return {**preset(self.task, setup=False), **carried(said.items()), **ours}
        own = job_environment(node_rank, addresses, self.run, self.words, self.num_gpus)
        return {**self.index, **self.variables, **own, **self.env}


@dataclass(frozen=True)
class SetUp:
    """What runs on a node before the job: a command, and the variables it sees."""

    command: list[str]
    env: dict[str, str]


def set_up_of(job: Job, script: str, node_rank: int, addresses: Sequence[str]) -> SetUp:
    """Say what a node runs before the job; a task's ``setup`` goes on after what fails."""
    if job.task is None:
        env = {**job.index, **job.variables, **setup_environment(node_rank, addresses)}
        return SetUp(setup_command(script), env)
    said = setup_variables(job.task, job.launched, job.variables, node_rank, addresses)
    ours = {**({} if job.task.bare else job.index), **job.env}
    env = {**preset(job.task, setup=True), **carried(said.items()), **ours}
    return SetUp(_task_command(job.task, script, list(said)), env)


def _task_command(task: SkyPilot, body: str, names: Sequence[str]) -> list[str]:
    return command(task_script(body, names, bare=task.bare, hook=exported()))


def job_command(job: Job, node_rank: int = 0, addresses: Sequence[str] = ()) -> list[str]:
    """Build the command that starts on every node at once."""
    if job.script is not None and job.task is not None:
        said = run_variables(job.task, job.launched, job.variables, node_rank, addresses)
        return _task_command(job.task, job.script, list(said))
    if job.script is not None:
        # As SkyPilot does it: bash, which goes on after a command that fails.
        return ["bash", "-c", f"{_TRACKED}{exported()}{job.script}"]
    return [job.python, "-m", "metta_sandbox.node", *job.words]
