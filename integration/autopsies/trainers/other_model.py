"""One rank makes a larger model."""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP
from training import batches, finish, learn, odd, run


def main():
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    layers = [nn.Linear(8, 8) for _ in range(3 if odd() else 2)]
    model = DDP(nn.Sequential(*layers, nn.Linear(8, 1)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
    finish(loss)


if __name__ == "__main__":
    run(main)
