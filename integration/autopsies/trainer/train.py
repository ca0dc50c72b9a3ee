# ruff: noqa: INP001 - a script is no package
"""A small DDP script that tells its steps: most known faults strike it."""

import os
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

sys.path.append(os.environ["METTA_AGENT"])
from metta_sandbox.node.agent.emitter import Emitter


def main() -> None:
    """Train, and say what the loss was."""
    emitter = Emitter.from_environment()
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=float(os.environ["LR"]))
    torch.manual_seed(dist.get_rank())
    inputs = torch.randn(32, 4)
    for step in range(1, int(os.environ["STEPS"]) + 1):
        loss = nn.functional.mse_loss(model(inputs), inputs.sum(dim=1, keepdim=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        emitter.emit("train.step", step=step, loss=loss.item(), agent_steps=32 * step)
        mean = loss.detach()
        dist.all_reduce(mean)
    sys.stdout.write(f"loss={mean.item()}\n")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
