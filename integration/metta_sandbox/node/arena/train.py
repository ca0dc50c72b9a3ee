"""A training run: play, learn, keep a checkpoint, say how it goes; until it was enough."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from metta_sandbox.errors import InputError, SandboxError
from metta_sandbox.node.agent.emitter import Emitter
from metta_sandbox.node.agent.events import CheckpointSaved, TrainFinished, TrainStarted, TrainStep
from metta_sandbox.node.arena import checkpoint as checkpoints
from metta_sandbox.node.arena.checkpoint import Checkpoint
from metta_sandbox.node.arena.config import ArenaConfig, OptimizerConfig, flatten
from metta_sandbox.node.arena.curriculum import EPISODE_STEPS
from metta_sandbox.node.arena.policy import Policy, digest, make_policy, one_thread
from metta_sandbox.node.arena.ppo import Learner
from metta_sandbox.node.arena.rollout import Geometry, Rollout, plan_rollout, play
from metta_sandbox.node.arena.seeds import Stream, derive
from metta_sandbox.node.arena.world import World

LOG = logging.getLogger(__name__)


class DivergedError(SandboxError):
    """Training left the finite numbers."""


@dataclass(frozen=True)
class Progress:
    """How far a run is: iterations done, and agent steps over all ranks."""

    step: int = 0
    agent_steps: int = 0


@dataclass(frozen=True)
class Outcome:
    """How a run ended on one rank. ``digest`` is of its parameters (see ``policy.digest``)."""

    digest: str
    progress: Progress
    seconds: float


@dataclass(frozen=True)
class _Run:
    """What does not change while a run lasts; the policy and its learner do, in place."""

    config: ArenaConfig
    world: World
    trial: Path
    emitter: Emitter
    geometry: Geometry
    policy: Policy
    optimizer: torch.optim.Optimizer

    @property
    def checkpoint(self) -> Path:
        return self.trial / checkpoints.FILE_NAME

    def enough(self, progress: Progress) -> bool:
        return progress.agent_steps >= self.config.trainer.total_timesteps


@one_thread()
def train(config: ArenaConfig, world: World, trial: Path, emitter: Emitter) -> Outcome:
    """Train for ``trainer.total_timesteps``, going on from the trial's checkpoint if it has one.

    Every rank calls this after ``World.join``. Rank 0 writes the checkpoint, every rank its digest
    as ``rank-<R>.digest``.

    Raises:
        InputError: The trial's checkpoint is damaged, or of a run with other settings.
        DivergedError: The loss is no longer a finite number.

    """
    began = time.perf_counter()
    geometry = plan_rollout(config.trainer, world.size)
    policy = make_policy(derive(config.seed, Stream.POLICY)).to(world.device)
    optimizer = _adam(policy, config.trainer.optimizer)
    run = _Run(config, world, trial, emitter, geometry, policy, optimizer)
    progress = _resume(run)
    LOG.info(
        "rank %d of %d: run %s goes on from step %d; %d arenas for %d steps in segments of %d",
        *(world.rank, world.size, config.run, progress.step),
        *(geometry.arenas, geometry.steps, geometry.horizon),
    )
    emitter.tell(TrainStarted(world_size=world.size, step=progress.step))

    learner = Learner(
        model=policy if world.size == 1 else DistributedDataParallel(policy),
        optimizer=optimizer,
        ppo=config.trainer.ppo,
        epochs=config.trainer.update_epochs,
        minibatch=geometry.minibatch,
    )
    while not run.enough(progress):
        progress = Progress(
            progress.step + 1, progress.agent_steps + geometry.agent_steps * world.size
        )
        figures = _iterate(run, learner, progress.step)
        if world.rank == 0:
            _keep(run, progress)
            _log(progress, figures)
        done = TrainStep(step=progress.step, agent_steps=progress.agent_steps)
        emitter.tell(done, **figures)
    return _finish(run, progress, began)


def _adam(policy: nn.Module, settings: OptimizerConfig) -> torch.optim.Optimizer:
    return torch.optim.Adam(
        policy.parameters(),
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
    )


def _resume(run: _Run) -> Progress:
    """Take up rank 0's checkpoint on every rank, wherever the others' folders are."""
    found: Checkpoint | InputError | None = None
    if run.world.rank == 0 and run.config.trainer.resume and run.checkpoint.exists():
        try:
            found = checkpoints.load(run.checkpoint)
            checkpoints.require_fit(found, run.checkpoint, run.config, run.world.size)
        except InputError as error:
            found = error
    found = run.world.from_rank_0(found)
    if isinstance(found, InputError):
        raise found
    if found is None:
        return Progress()
    run.policy.load_state_dict(found.policy)
    run.optimizer.load_state_dict(dict(found.optimizer))
    return Progress(found.step, found.agent_steps)


def _iterate(run: _Run, learner: Learner, step: int) -> Mapping[str, float]:
    """Play and learn once; return figures that are the same on every rank."""
    began = time.perf_counter()
    rank, seed = run.world.rank, run.config.seed
    rollout = play(run.policy, run.config, run.geometry, rank=rank, iteration=step)
    order = torch.Generator()
    order.manual_seed(derive(seed, Stream.MINIBATCHES, rank, step))
    figures = run.world.mean(
        {
            **learner.learn(rollout, order),
            "reward": rollout.rewards.mean().item() * EPISODE_STEPS,
            "explained_variance": _explained_variance(rollout),
            "seconds": time.perf_counter() - began,
        }
    )
    if not all(math.isfinite(figure) for figure in figures.values()):
        raise DivergedError(
            f"training diverged in step {step}: loss {figures['loss']}",
            "lower trainer.optimizer.learning_rate, now "
            f"{run.config.trainer.optimizer.learning_rate}",
        )
    return figures


def _explained_variance(rollout: Rollout) -> float:
    """Return how much of the returns' variance the values foresaw: 1 all, 0 none, at least -1."""
    total = rollout.returns.var(correction=0)
    rest = (rollout.returns - rollout.values).var(correction=0)
    return (1 - rest / total).clamp(min=-1).item() if total > 0 else 0.0


def _keep(run: _Run, progress: Progress) -> None:
    """Write a checkpoint if one is due."""
    if progress.step % run.config.trainer.checkpoint_interval and not run.enough(progress):
        return
    state = Checkpoint(
        step=progress.step,
        agent_steps=progress.agent_steps,
        world_size=run.world.size,
        config=flatten(run.config),
        policy=run.policy.state_dict(),
        optimizer=run.optimizer.state_dict(),
    )
    checkpoints.save(state, run.checkpoint)
    run.emitter.tell(CheckpointSaved(path=str(run.checkpoint), step=progress.step))


def _log(progress: Progress, figures: Mapping[str, float]) -> None:
    LOG.info(
        "step %d: %d agent steps, reward %.3f, loss %.4f, entropy %.3f, %.2f s",
        progress.step,
        progress.agent_steps,
        *(figures[name] for name in ("reward", "loss", "entropy", "seconds")),
    )


def _finish(run: _Run, progress: Progress, began: float) -> Outcome:
    rank = run.world.rank
    outcome = Outcome(digest(run.policy), progress, time.perf_counter() - began)
    checkpoints.write_atomically(
        run.trial / f"rank-{rank}.digest", lambda file: file.write(f"{outcome.digest}\n".encode())
    )
    run.emitter.tell(
        TrainFinished(
            digest=outcome.digest,
            step=progress.step,
            agent_steps=progress.agent_steps,
            seconds=outcome.seconds,
        )
    )
    LOG.info(
        "rank %d: finished after %d agent steps in %.2f s, digest %s",
        rank,
        progress.agent_steps,
        outcome.seconds,
        outcome.digest,
    )
    return outcome
