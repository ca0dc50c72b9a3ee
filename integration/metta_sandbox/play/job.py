"""What every node is told to run: the sweep's rollout, or what a user runs in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from metta_sandbox.node.agent.injection.hook import exported
from metta_sandbox.stack.node_environment import job_environment

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

    @property
    def noun(self) -> str:
        """What it is called when it fails."""
        return "the sweep's rollout" if self.script is None else "the command"

    @property
    def template(self) -> str | None:
        """From which template it may be forked: any that is there, a node's own, or none."""
        if self.script is not None:
            return None
        return "own" if self.warm else "any"

    def environment(self, node_rank: int, addresses: Sequence[str]) -> dict[str, str]:
        """Build the variables that it sees on a node beside the node's own."""
        own = job_environment(node_rank, addresses, self.run, self.words, self.num_gpus)
        return {**self.index, **self.variables, **own, **self.env}


def job_command(job: Job) -> list[str]:
    """Build the command that starts on every node at once."""
    if job.script is not None:
        # As SkyPilot does it: bash, which goes on after a command that fails.
        return ["bash", "-c", f"{_TRACKED}{exported()}{job.script}"]
    return [job.python, "-m", "metta_sandbox.node", *job.words]
