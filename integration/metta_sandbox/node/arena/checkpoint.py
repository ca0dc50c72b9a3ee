"""Checkpoints: all that a run needs to continue as if it had never stopped."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from metta_sandbox.errors import InputError
from metta_sandbox.node.arena.config import ArenaConfig, flatten

#: The checkpoint's name in a trial's folder.
FILE_NAME = "checkpoint.pt"

#: What may differ between the run that left a checkpoint and the one that continues it.
_FREE = frozenset(
    {"run", "hardware", "trainer.total_timesteps", "trainer.checkpoint_interval", "trainer.resume"}
)


@dataclass(frozen=True)
class Checkpoint:
    """A run between two iterations.

    No generator's state is in it: what is random in an iteration is drawn from its number.

    Args:
        step: Iterations done.
        agent_steps: Agent steps done, over all ranks.
        world_size: Ranks that took part.
        config: The run's configuration, flat (see ``config.flatten``).
        policy: The policy's ``state_dict``.
        optimizer: The optimiser's ``state_dict``.

    """

    step: int
    agent_steps: int
    world_size: int
    config: Mapping[str, Any]
    policy: Mapping[str, Any]
    optimizer: Mapping[str, Any]


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint so that ``path`` is at any moment either the old or the new one."""
    write_atomically(path, lambda file: torch.save(vars(checkpoint), file))


def load(path: Path) -> Checkpoint:
    """Read a checkpoint; nothing but tensors and plain values is ever unpickled.

    Raises:
        InputError: The file is missing, damaged or not one of ours.

    """
    try:
        return Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(
            f"{path}: not a checkpoint of this trainer: {error}",
            "delete it, or start afresh with trainer.resume=false",
        ) from error


def require_fit(found: Checkpoint, path: Path, config: ArenaConfig, world_size: int) -> None:
    """Make sure that a run with this configuration can go on from a checkpoint.

    Raises:
        InputError: It is of a run with other settings, which are named.

    """
    mine = {**flatten(config), "world size": world_size}
    theirs = {**found.config, "world size": found.world_size}
    differing = [
        f"{key} was {theirs.get(key)}, is {value}"
        for key, value in mine.items()
        if key not in _FREE and value != theirs.get(key)
    ]
    if differing:
        raise InputError(
            f"{path} is of another run: {', '.join(differing)}",
            "take another trial folder, or start afresh with trainer.resume=false",
        )


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file beside ``path`` and put it in its place once it is safely on disk.

    One process writes a given file; what a killed one has left beside it is overwritten.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.partial")
    try:
        with beside.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
