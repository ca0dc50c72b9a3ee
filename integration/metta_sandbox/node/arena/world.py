"""The ranks that train together, and what they say to each other besides gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
import torch.distributed as dist

from metta_sandbox.errors import InputError, MachineError

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """Who this process is among the ranks of a trial."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    gpu: bool = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> World:
        """Read what torchrun, or anything else, has set.

        Raises:
            InputError: A variable is missing or makes no sense.

        """
        rank, size, local = (
            _number(environ, name, default)
            for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
        )
        if not 0 <= rank < size:
            raise InputError(f"RANK={rank} is not in a world of WORLD_SIZE={size}")
        missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not environ.get(name)]
        if size > 1 and missing:
            raise InputError(
                f"WORLD_SIZE={size}, but {' and '.join(missing)} not set",
                "start the ranks with torchrun, which sets what they need to meet",
            )
        return cls(rank, size, local, environ.get("METTA_HARDWARE") == "gpu")

    @property
    def device(self) -> torch.device:
        """Where this rank computes."""
        return torch.device("cuda", self.local_rank) if self.gpu else torch.device("cpu")

    def join(self) -> None:
        """Wait for the other ranks and form the process group; alone, do nothing.

        The group is never destroyed: see ``__main__.leave``.

        Raises:
            MachineError: GPUs were asked for and there is none for this rank.

        """
        if self.gpu:
            if torch.cuda.device_count() <= self.local_rank:
                raise MachineError(
                    f"METTA_HARDWARE=gpu, but no CUDA device {self.local_rank} here",
                    "leave +hardware=gpu out to train on CPUs",
                )
            torch.cuda.set_device(self.local_rank)
        if self.size > 1:
            dist.init_process_group(
                "nccl" if self.gpu else "gloo", rank=self.rank, world_size=self.size
            )

    def from_rank_0(self, value: T) -> T:
        """Return on every rank the value that rank 0 gave."""
        if self.size == 1:
            return value
        box: list[object] = [value]
        dist.broadcast_object_list(box, src=0)
        return cast("T", box[0])

    def mean(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Return each figure's mean over all ranks."""
        if self.size == 1:
            return dict(figures)
        sums = torch.tensor(list(figures.values()), dtype=torch.float64, device=self.device)
        dist.all_reduce(sums)
        return dict(zip(figures, (sums / self.size).tolist(), strict=True))

    def wait_for_all(self) -> None:
        """Return once every rank has come here."""
        if self.size > 1:
            dist.barrier()


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    value = environ.get(name, str(default))
    if not value.isdecimal():
        raise InputError(f"{name}={value!r} in the environment is not a number")
    return int(value)
