"""The trainer of every contestant: plain DDP, 50 tiny steps, gloo."""
# ruff: noqa: INP001 - started by its path, in an interpreter that is not ours

import argparse
import os
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

STEPS = 50


def main() -> None:
    """Train 50 steps with DDP."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    options = parser.parse_args()

    dist.init_process_group("gloo")
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1)))
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)
    torch.manual_seed(dist.get_rank())
    inputs = torch.randn(64, 8)
    targets = inputs.sum(dim=1, keepdim=True)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
    print(f"rank {dist.get_rank()} of {dist.get_world_size()} loss={loss.item():.6f}")  # noqa: T201
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    # One in twenty is aborted else, whoever started it: Gloo's threads still let go of tensors when
    # the interpreter is torn down (pytorch/pytorch, pull request 179291).
    os._exit(0)
